"""Attribution methods for segmentation: Captum, Grad-CAM++ and Seg-Grad-CAM."""

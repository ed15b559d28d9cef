"""Class attribution for segmentation: Captum methods and Grad-CAM++ for image regions."""

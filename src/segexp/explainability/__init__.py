"""What in an image speaks for a class: heat maps by Captum's attributions, and what is added to them for segmentation."""

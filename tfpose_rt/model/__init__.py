"""TFPose and the trunks it stands on."""

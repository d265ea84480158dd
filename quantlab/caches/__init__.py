"""What people do with calibration caches: check, compare, rename, merge, retarget, and turn into Q/DQ and back."""

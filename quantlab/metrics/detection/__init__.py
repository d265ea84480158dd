"""Detection: boxes out of raw heads, suppressed, and how precise they are (COCO)."""

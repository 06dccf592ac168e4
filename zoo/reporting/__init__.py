"""A finished or running workdir as a page, a picture, a comparison; and the trackers."""

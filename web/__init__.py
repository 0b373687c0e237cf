"""Builds the course as a folder of static files: pages to read, and JupyterLab with Python in the browser."""

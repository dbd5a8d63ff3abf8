"""Where images come from: folders and archives, the official download, drawn images."""

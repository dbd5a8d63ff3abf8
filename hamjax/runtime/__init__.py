"""The machine and the process: devices, other processes, signals, files, downloads, errors that a user can fix."""

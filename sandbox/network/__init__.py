"""The network of one run: sockets that a process outside the cell holds, decides on and closes."""

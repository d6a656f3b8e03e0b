"""Components, the outer layer of WebAssembly: read into a tree, looked up, edited, written back."""

"""Records -> terminal, JSON, HTML, pictures. Nothing here runs or measures anything."""

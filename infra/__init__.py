"""How the platform is run; knows no room."""

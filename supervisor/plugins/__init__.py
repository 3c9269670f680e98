"""What plugins are told and asked, and how they are found, loaded and watched."""

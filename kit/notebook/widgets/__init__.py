"""What a person sees and hears: players, covers and cards, each with a plain HTML twin; importing it loads nothing."""

"""The starter model: its questions and answers, and the scripts that make it of them."""

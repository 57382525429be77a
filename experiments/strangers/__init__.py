"""What strangers may have written, and what anyone may type: changed records, and changed command lines."""

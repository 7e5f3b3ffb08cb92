"""Tables of clinical values without images: read column by column, and looked at for what is wrong with them."""

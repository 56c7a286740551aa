"""Follow folders and web pages: what is added, changed, or deleted there is added, changed, or deleted in a collection."""

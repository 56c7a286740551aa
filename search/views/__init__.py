"""Pages of search. `pages` answers queries; `library` shows and changes collections and documents."""

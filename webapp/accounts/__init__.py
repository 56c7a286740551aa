"""Users, roles, budgets and sign-in."""

"""Try a candidate for a route with real requests: mirrors and canaries (`models.Rollout`)."""

//! What the vault asks a Kubernetes API server: keys, token reviews, which pods live.

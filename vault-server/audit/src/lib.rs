//! The audit log: append-only Merkle tree with signed checkpoints, and its verifier.

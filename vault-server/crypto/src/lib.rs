//! Ciphers, key hierarchy, shares, sealed tokens and signatures.

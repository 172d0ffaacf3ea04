//! Everything that enters the store is encrypted here, names included; the seal guards its root key.

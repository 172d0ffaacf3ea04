//! Secret engines: kv.

//! Typed client of the Coffer vault: TLS, login, retry, watch.

//! The vault below its API: seal, operators, clusters, sessions, grants, engines, audit.

//! Types for bytes and strings that open something: wiped, never printed.

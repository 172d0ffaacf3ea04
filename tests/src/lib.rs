//! Whole-system tests, and the kit that starts real servers for them.

//! The kubernetes engine over a real barrier.

#[cfg(test)]
mod roles;

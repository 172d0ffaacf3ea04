//! The transit engine over a real barrier.

#[cfg(test)]
mod behaviour;
#[cfg(test)]
mod common;
#[cfg(test)]
mod golden;

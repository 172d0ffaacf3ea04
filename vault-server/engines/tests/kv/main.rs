//! The kv engine over a real barrier.

#[cfg(test)]
mod behaviour;
#[cfg(test)]
mod common;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod model;
#[cfg(test)]
mod races;

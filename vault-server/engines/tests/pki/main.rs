//! The pki engine over a real barrier.

#[cfg(test)]
mod authorities;
#[cfg(test)]
mod common;
#[cfg(test)]
mod issuers;
#[cfg(test)]
mod issuing;
#[cfg(test)]
mod revoking;
#[cfg(test)]
mod roles;
#[cfg(test)]
mod signing;

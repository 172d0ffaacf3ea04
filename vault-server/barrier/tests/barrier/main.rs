//! The barrier on real stores.

#[cfg(test)]
mod common;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod listing;
#[cfg(test)]
mod records;
#[cfg(test)]
mod rekey;
#[cfg(test)]
mod rewrap;
#[cfg(test)]
mod seal;
#[cfg(test)]
mod snapshot;
#[cfg(test)]
mod tamper;

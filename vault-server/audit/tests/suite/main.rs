//! The audit log from outside: what is recorded, what survives, what is noticed.

#[cfg(test)]
mod closed;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod log;
#[cfg(test)]
mod power;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tamper;

//! Connections that are kept, and what is done on one: within its time, or the connection is closed.

use deadpool::managed::{Manager, Object, Pool, PoolError, TimeoutType, Timeouts};
use tokio::time::{Instant, timeout_at};

use crate::{ACT_TIME_MAX, CONNECT_TIME_MAX, CONNECTIONS_MAX, DatabaseError, Fault};

/// Connections to one database.
pub(crate) struct Connections<M: Manager<Error = DatabaseError>>(Pool<M>);

impl<M: Manager<Error = DatabaseError> + 'static> Connections<M> {
    /// None yet, and never more than `at_once`.
    pub(crate) fn new(connector: M, at_once: u32) -> Result<Self, DatabaseError> {
        let size = usize::try_from(at_once.clamp(1, CONNECTIONS_MAX)).unwrap_or(1);
        let pool = Pool::builder(connector)
            .max_size(size)
            .timeouts(Timeouts { wait: Some(ACT_TIME_MAX), create: Some(CONNECT_TIME_MAX), recycle: Some(CONNECT_TIME_MAX) })
            .runtime(deadpool::Runtime::Tokio1)
            .build()
            .map_err(|error| DatabaseError::new(Fault::Configuration, error.to_string()))?;
        Ok(Self(pool))
    }

    async fn connection(&self) -> Result<Object<M>, DatabaseError> {
        self.0.get().await.map_err(|error| match error {
            PoolError::Backend(error) => error,
            PoolError::Timeout(TimeoutType::Wait) => DatabaseError::new(Fault::Busy, "all of the vault's connections are in use"),
            PoolError::Timeout(_) => DatabaseError::new(Fault::Unreachable, "no connection within its time"),
            error => DatabaseError::new(Fault::Unreachable, error.to_string()),
        })
    }

    /// Does something on one connection, within the time there is.
    pub(crate) async fn act<T>(
        &self,
        act: impl AsyncFnOnce(&mut M::Type) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let end = Instant::now() + ACT_TIME_MAX;
        let connection = timeout_at(end, self.connection()).await;
        let connection = connection.map_err(|_| DatabaseError::new(Fault::Busy, "no connection within the time"))??;
        let mut held = Held(Some(connection));
        let Some(connection) = &mut held.0 else { return Err(DatabaseError::new(Fault::Lost, "no connection")) };
        let done = timeout_at(end, act(connection)).await;
        let done = done.map_err(|_| DatabaseError::new(Fault::Timeout, "the act took too long"))??;
        // It goes back: nothing is under way on it.
        drop(held.0.take());
        Ok(done)
    }
}

/// A connection on which something is under way. Left so, because that failed, took too long, or whoever asked for it is gone,
/// it is closed: it may be within a transaction, or half an answer may still come.
struct Held<M: Manager>(Option<Object<M>>);

impl<M: Manager> Drop for Held<M> {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(Object::take(connection));
        }
    }
}

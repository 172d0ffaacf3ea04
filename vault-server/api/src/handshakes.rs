//! TLS handshakes: the one thing that costs the server more than its caller, so they are bounded in number and in the
//! processors' time that they take together.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    pin::Pin,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    thread,
    time::{Duration, Instant},
};

use coffer_core::limits::{HANDSHAKES_MAX, HANDSHAKES_PROCESSOR_PART};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tokio_util::sync::{CancellationToken, PollSemaphore, WaitForCancellationFutureOwned};

use crate::callers::origin;

/// Processor time that may be saved up.
const SAVED_MAX: Duration = Duration::from_millis(100);
/// How long a handshake waits before it looks again whether there is time for it, at least.
const PAUSE_MIN: Duration = Duration::from_millis(2);

/// All handshakes under way.
#[derive(Clone, Default)]
pub(crate) struct Handshakes(Arc<Shared>);

struct Shared {
    under_way: Mutex<UnderWay>,
    time: Time,
    /// Whose turn it is, in the order in which they came.
    turns: Arc<Semaphore>,
}

impl Default for Shared {
    fn default() -> Self {
        let part = usize::try_from(HANDSHAKES_PROCESSOR_PART).unwrap_or(1);
        let turns = thread::available_parallelism().map_or(1, |count| count.get().div_ceil(part));
        Self { under_way: Mutex::default(), time: Time::default(), turns: Arc::new(Semaphore::new(turns)) }
    }
}

#[derive(Default)]
struct UnderWay {
    count: usize,
    next: u64,
    /// Of each address, the oldest first.
    by_origin: HashMap<IpAddr, VecDeque<(u64, CancellationToken)>>,
}

impl UnderWay {
    /// Ends one: the oldest of the address that has the most. Who is honest has few, and needs a moment for each.
    fn displace(&mut self) {
        let most = self.by_origin.iter_mut().max_by_key(|(_, of_origin)| of_origin.len());
        let Some((origin, of_origin)) = most else { return };
        let origin = *origin;
        if let Some((_, oldest)) = of_origin.pop_front() {
            oldest.cancel();
            self.count -= 1;
        }
        if of_origin.is_empty() {
            self.by_origin.remove(&origin);
        }
    }

    fn remove(&mut self, origin: IpAddr, number: u64) {
        let Some(of_origin) = self.by_origin.get_mut(&origin) else { return };
        let before = of_origin.len();
        of_origin.retain(|(other, _)| *other != number);
        self.count -= before - of_origin.len();
        if of_origin.is_empty() {
            self.by_origin.remove(&origin);
        }
    }
}

impl Shared {
    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handshakes {
    /// Begins one with this address; another ends for it where there are too many.
    pub(crate) fn begin(&self, address: IpAddr) -> Handshake {
        let (origin, end) = (origin(address), CancellationToken::new());
        let mut under_way = self.0.under_way();
        while under_way.count >= HANDSHAKES_MAX {
            under_way.displace();
        }
        let number = under_way.next;
        under_way.next += 1;
        under_way.count += 1;
        under_way.by_origin.entry(origin).or_default().push_back((number, end.clone()));
        Handshake { all: Arc::clone(&self.0), origin, number, displaced: Box::pin(end.cancelled_owned()) }
    }
}

/// A handshake under way, until it is dropped.
pub(crate) struct Handshake {
    all: Arc<Shared>,
    origin: IpAddr,
    number: u64,
    displaced: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Handshake {
    /// Runs it, when there is time for it; gives nothing where it was ended for another.
    pub(crate) async fn run<F: Future + Unpin>(mut self, handshake: F) -> Option<F::Output> {
        let turns = PollSemaphore::new(Arc::clone(&self.all.turns));
        let paced = Paced { handshake, time: &self.all.time, turns, turn: None, pause: None };
        tokio::select! {
            biased;
            () = &mut self.displaced => None,
            done = paced => Some(done),
        }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.all.under_way().remove(self.origin, self.number);
    }
}

/// The processors' time that handshakes may take: a part of what passes, and what was saved up.
#[derive(Default)]
struct Time(Mutex<Option<Balance>>);

struct Balance {
    at: Instant,
    saved: Duration,
    owed: Duration,
}

impl Time {
    /// How long to wait before there is some; nothing where there is.
    fn pause(&self, now: Instant) -> Option<Duration> {
        let owed = self.balance(now, Duration::ZERO);
        let part = f64::from(HANDSHAKES_PROCESSOR_PART) / processors();
        (!owed.is_zero()).then(|| owed.mul_f64(part).max(PAUSE_MIN))
    }

    /// Takes some; answers what is owed then.
    fn balance(&self, now: Instant, taken: Duration) -> Duration {
        let mut balance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let balance = balance.get_or_insert(Balance { at: now, saved: SAVED_MAX, owed: Duration::ZERO });
        let passed = now.saturating_duration_since(balance.at).mul_f64(processors() / f64::from(HANDSHAKES_PROCESSOR_PART));
        balance.at = balance.at.max(now);
        let (have, need) = (balance.saved + passed, balance.owed + taken);
        (balance.saved, balance.owed) = (have.saturating_sub(need).min(SAVED_MAX), need.saturating_sub(have));
        balance.owed
    }
}

/// How many there are. To ask takes reading files.
fn processors() -> f64 {
    static PROCESSORS: LazyLock<f64> =
        LazyLock::new(|| thread::available_parallelism().map_or(1.0, |count| u32::try_from(count.get()).map_or(1.0, f64::from)));
    *PROCESSORS
}

/// A handshake that goes on when it has its turn, and there is time for it.
struct Paced<'a, F> {
    handshake: F,
    time: &'a Time,
    turns: PollSemaphore,
    turn: Option<OwnedSemaphorePermit>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<F: Future + Unpin> Future for Paced<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.turn.is_none() {
            self.turn = ready!(self.turns.poll_acquire(context));
        }
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            let Some(pause) = self.time.pause(Instant::now()) else { break };
            self.pause = Some(Box::pin(sleep(pause)));
        }
        let began = Instant::now();
        let polled = Pin::new(&mut self.handshake).poll(context);
        let now = Instant::now();
        self.time.balance(now, now.saturating_duration_since(began));
        self.turn = None;
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[tokio::test]
    async fn one_too_many_ends_the_oldest_of_the_address_that_has_the_most() {
        let handshakes = Handshakes::default();
        let honest = handshakes.begin(address(1));
        let mut open: VecDeque<_> = (1..HANDSHAKES_MAX).map(|_| handshakes.begin(address(2))).collect();
        let (first, second) = (open.pop_front().unwrap(), open.pop_front().unwrap());
        assert_eq!(handshakes.0.under_way().count, HANDSHAKES_MAX);
        let newest = handshakes.begin(address(3));
        assert_eq!(handshakes.0.under_way().count, HANDSHAKES_MAX);
        assert_eq!(first.run(Box::pin(pending::<()>())).await, None);
        assert_eq!(second.run(ready(7)).await, Some(7));
        assert_eq!(honest.run(ready(8)).await, Some(8), "the oldest of all, and the only one of its address");
        assert_eq!(newest.run(ready(9)).await, Some(9));
        drop(open);
        let under_way = handshakes.0.under_way();
        assert!(under_way.by_origin.is_empty() && under_way.count == 0);
    }

    #[tokio::test]
    async fn a_handshake_that_is_given_up_amid_its_turn_lets_others_go_on() {
        let handshakes = Handshakes::default();
        // Time is owed, so that each turn is waited for.
        handshakes.0.time.balance(Instant::now(), SAVED_MAX + Duration::from_secs(3_600));
        let waiting = || tokio::time::timeout(Duration::from_millis(1), handshakes.begin(address(1)).run(ready(())));
        for _ in 0..16 {
            assert!(waiting().await.is_err());
        }
        *handshakes.0.time.0.lock().unwrap() = None;
        assert_eq!(handshakes.begin(address(1)).run(ready(7)).await, Some(7));
    }

    #[test]
    fn handshakes_take_their_part_of_the_time_and_no_more() {
        let (time, began) = (Time::default(), Instant::now());
        let cost = Duration::from_millis(1);
        let (mut now, mut done) = (began, 0);
        while now < began + Duration::from_secs(10) {
            match time.pause(now) {
                Some(pause) => now += pause,
                None => {
                    time.balance(now, cost);
                    done += 1;
                }
            }
        }
        let expected = 10_000.0 * processors() / f64::from(HANDSHAKES_PROCESSOR_PART) + 100.0;
        assert!((f64::from(done) - expected).abs() < 0.05 * expected, "{done} handshakes, where {expected} may be");
    }

    #[test]
    fn no_more_time_is_saved_up_than_a_moment() {
        let (time, began) = (Time::default(), Instant::now());
        assert!(time.balance(began, SAVED_MAX).is_zero());
        let later = began + Duration::from_secs(3_600);
        assert!(time.balance(later, Duration::ZERO).is_zero());
        assert!(time.balance(later, SAVED_MAX).is_zero(), "that much was saved");
        assert_eq!(time.balance(later, Duration::from_millis(1)), Duration::from_millis(1));
    }
}

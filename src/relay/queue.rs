//! A queue for something scarce, fair by client.
//!
//! What comes free goes to the client that holds the fewest, and of those to the one that has waited
//! longest. That alone would let early clients hold every lease indefinitely.
//! So a lease that is older than the *grace* is *preempted* for a waiter whose client holds at least two
//! fewer (max-min fairness): of `most` leases and fewer clients than that, a client that holds none is
//! granted one at most [`PREEMPTION_CHECK`] after the grace, plus the time that the holder needs to stop. A client's last lease is never preempted.
//!
//! Places in the queue are bounded for each client, wider network and alias. When all of a kind are taken,
//! a newcomer displaces a waiter in the same way: of those for that alias, or of that network, one whose
//! client has at least two more waiting. So nobody's last place is lost, and nobody keeps others' mail for
//! an alias out by waiting for it.
//!
//! Clients are compared where they first differ: two of one wider network by what each of them has,
//! and all others by what their wider networks have.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::alias::AliasName;
use crate::net::limits::{ClientNet, Shares, is_reached, is_scarce};

/// Of fewer leases, more than 80 % are all of them.
const FEW: usize = 5;

/// Claims of one client that may wait; a wider network may have [`Prefix::factor`] times as many.
/// Postfix delivers 20 messages to a destination at a time (`default_destination_concurrency_limit`): by
/// default 10 have a lease then, and 10 wait.
const WAITING_OF_CLIENT: usize = 10;

/// Claims for one alias that may wait, of all clients together: twice what one client may have waiting.
const WAITING_FOR_ALIAS: usize = 20;

/// How often a waiter checks whether a lease has become old enough to preempt.
const PREEMPTION_CHECK: Duration = Duration::from_secs(1);

/// A number of leases, each held by one client.
pub(super) struct FairQueue {
    state: Mutex<State>,
}

/// How many leases there are, and how long each is safe.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// In all; 0 stands for no limit.
    pub(super) most: usize,
    /// For each client; 0 stands for no limit.
    pub(super) most_per_client: usize,
    /// One that is older may be preempted.
    pub(super) grace: Duration,
}

struct State {
    limits: Limits,
    /// The number of the last claim.
    last: u64,
    /// By number, so the oldest come first.
    held: BTreeMap<u64, Holder>,
    /// What each client holds; a lease that was preempted is its next_holder's.
    shares: Shares,
    /// In the order of their coming, and so of their numbers.
    waiting: VecDeque<Waiter>,
}

struct Holder {
    claim: Claim,
    since: Instant,
    /// It ends soon without our help, and must not be interrupted.
    is_final: bool,
    /// For whom it was preempted.
    next_holder: Option<Waiter>,
}

struct Waiter {
    number: u64,
    claim: Claim,
    /// Closed when it has given up.
    grant: oneshot::Sender<Lease>,
}

/// What a lease is wanted for.
#[derive(Clone)]
pub struct Claim {
    /// Who wants it.
    pub client: ClientNet,
    /// Whom the message is for; none: the postmaster.
    pub alias: Option<AliasName>,
    /// Cancelled when the lease is to be given back at once.
    pub preempted: CancellationToken,
}

/// A lease that was granted; given back when it is dropped.
pub struct Lease {
    queue: Arc<FairQueue>,
    number: u64,
}

/// Why there is no lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// All are held.
    ForAll,
    /// This client or one of its networks holds, or has waiting, all it may, and no other client of that
    /// network has more waiting.
    ForClient,
    /// As many wait for this alias as may, and no other client has more of them.
    ForAlias,
    /// Who asked has gone.
    Gone,
}

impl FairQueue {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        let (held, shares, waiting) = (BTreeMap::new(), Shares::default(), VecDeque::new());
        Arc::new(FairQueue { state: Mutex::new(State { limits, last: 0, held, shares, waiting }) })
    }

    /// From now on these `limits`. Leases that are held stay held; further ones go to those who wait.
    pub(super) fn set_limits(self: &Arc<Self>, limits: Limits) {
        self.state().limits = limits;
        loop {
            // A grant that is not wanted any more is dropped, and that takes the lock.
            let granted = self.grant_next(&mut self.state());
            let Some((grant, lease)) = granted else { return };
            let _ = grant.send(lease);
        }
    }

    /// A lease for `claim`, or the first that it can have within `patience`. When this future is dropped
    /// the claim is, too.
    ///
    /// # Errors
    /// When it had none within `patience`; at once when too many of its kind wait, or as soon as its place
    /// goes to another client.
    pub(super) async fn wait(self: &Arc<Self>, claim: Claim, patience: Duration) -> Result<Lease, Busy> {
        let end = Instant::now() + patience;
        let (busy, number, mut granted) = {
            let mut state = self.state();
            let busy = match state.check_limits(claim.client) {
                Ok(()) => return Ok(self.grant(&mut state, claim)),
                Err(busy) => busy,
            };
            state.waiting.retain(|waiter| !waiter.grant.is_closed());
            state.make_place(&claim)?;
            let (grant, granted) = oneshot::channel();
            let number = state.next_number();
            state.waiting.push_back(Waiter { number, claim, grant });
            (busy, number, granted)
        };
        loop {
            self.state().preempt_for(number);
            let recheck = end.min(Instant::now() + PREEMPTION_CHECK);
            match timeout_at(recheck, &mut granted).await {
                Ok(granted) => return granted.map_err(|_| busy),
                Err(_) if recheck == end => return Err(busy),
                Err(_) => {}
            }
        }
    }

    /// Whether more than 80 % are held: time to be short with those who hold one. Of fewer than five
    /// there is no share in between: that all are held harms nobody until somebody waits.
    pub(super) fn are_scarce(&self) -> bool {
        let state = self.state();
        let most = state.limits.most;
        let is_waited_for = || state.waiting.iter().any(|waiter| !waiter.grant.is_closed());
        is_scarce(most, state.held.len()) && (most >= FEW || is_waited_for())
    }

    fn grant(self: &Arc<Self>, state: &mut State, claim: Claim) -> Lease {
        state.shares.add(claim.client);
        self.hold(state, claim)
    }

    /// A lease that is in the claimant's share already.
    fn hold(self: &Arc<Self>, state: &mut State, claim: Claim) -> Lease {
        let number = state.next_number();
        state
            .held
            .insert(number, Holder { claim, since: Instant::now(), is_final: false, next_holder: None });
        Lease { queue: self.clone(), number }
    }

    /// Ends the lease with this number. Who has it next, if anybody.
    fn release(self: &Arc<Self>, number: u64) -> Option<(oneshot::Sender<Lease>, Lease)> {
        let mut state = self.state();
        let Holder { claim, next_holder, .. } = state.held.remove(&number)?;
        if let Some(Waiter { claim, grant, .. }) = next_holder {
            return Some((grant, self.hold(&mut state, claim)));
        }
        state.shares.remove(claim.client);
        self.grant_next(&mut state)
    }

    /// A free lease for the waiter that is to have the next one, if there is both.
    fn grant_next(self: &Arc<Self>, state: &mut State) -> Option<(oneshot::Sender<Lease>, Lease)> {
        state.waiting.retain(|waiter| !waiter.grant.is_closed());
        let waiting = state.waiting.iter().enumerate();
        let eligible = waiting.filter(|(_, waiter)| state.check_limits(waiter.claim.client).is_ok());
        // Of equal ones the first.
        let (next, _) = eligible.min_by_key(|(_, waiter)| state.shares.levels(waiter.claim.client))?;
        let Waiter { claim, grant, .. } = state.waiting.remove(next)?;
        Some((grant, self.grant(state, claim)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The figures are whole whatever happened to the thread that held them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether `client` may have a lease now.
    fn check_limits(&self, client: ClientNet) -> Result<(), Busy> {
        if is_reached(self.limits.most, self.held.len()) {
            return Err(Busy::ForAll);
        }
        if self.shares.has_room(client, self.limits.most_per_client) { Ok(()) } else { Err(Busy::ForClient) }
    }

    fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Makes sure that there is a place in the queue for `claim`; somebody else's, if need be.
    fn make_place(&mut self, claim: &Claim) -> Result<(), Busy> {
        let client = claim.client;
        let mut displaced = Vec::new();
        let mut ask = |most: usize, busy: Busy, is_meant: &dyn Fn(&Claim) -> bool| {
            let stays = |waiter: &&Waiter| is_meant(&waiter.claim) && !displaced.contains(&waiter.number);
            let waiting: Vec<_> = self.waiting.iter().filter(stays).collect();
            if waiting.len() >= most {
                displaced.push(displaced_by(client, &waiting).ok_or(busy)?);
            }
            Ok(())
        };
        for prefix in client.prefixes() {
            ask(prefix.allowance(WAITING_OF_CLIENT), Busy::ForClient, &|other| {
                other.client.prefixes().any(|other| other == prefix)
            })?;
        }
        ask(WAITING_FOR_ALIAS, Busy::ForAlias, &|other| other.alias == claim.alias)?;
        // Only now: who is refused displaces nobody. Dropping its grant ends its wait.
        self.waiting.retain(|waiter| !displaced.contains(&waiter.number));
        Ok(())
    }

    /// Preempts a lease for the waiter with this number, if there is one that it may have.
    fn preempt_for(&mut self, number: u64) {
        let Ok(at) = self.waiting.binary_search_by_key(&number, |waiter| waiter.number) else { return };
        let client = self.waiting[at].claim.client;
        let Some(victim) = self.victim_for(client) else { return };
        let (Some(next_holder), Some(holder)) = (self.waiting.remove(at), self.held.get_mut(&victim)) else {
            return;
        };
        self.shares.remove(holder.claim.client);
        self.shares.add(client);
        holder.next_holder = Some(next_holder);
        holder.claim.preempted.cancel();
    }

    /// The lease that `client` may have: of the client that holds most, the oldest.
    fn victim_for(&self, client: ClientNet) -> Option<u64> {
        let now = Instant::now();
        let is_preemptible = |holder: &Holder| {
            holder.next_holder.is_none()
                && !holder.is_final
                && now.duration_since(holder.since) >= self.limits.grace
        };
        let ripe = self.held.iter().filter(|(_, holder)| is_preemptible(holder));
        let surplus = ripe.filter_map(|(number, holder)| {
            let other = holder.claim.client;
            let surplus = self.shares.surplus(other, client)?;
            let mut gaining = client.prefixes().filter(|ours| other.prefixes().all(|theirs| theirs != *ours));
            let fits = gaining.all(|ours| self.shares.has_room_in(ours, self.limits.most_per_client));
            fits.then(|| (surplus, self.shares.levels(other), Reverse(*number)))
        });
        surplus.max().map(|(_, _, Reverse(number))| number)
    }
}

/// Of `waiting`, whose place `client` may have: of the client that has most of them, the youngest's.
fn displaced_by(client: ClientNet, waiting: &[&Waiter]) -> Option<u64> {
    let mut shares = Shares::default();
    waiting.iter().for_each(|waiter| shares.add(waiter.claim.client));
    let surplus = waiting.iter().filter_map(|waiter| {
        let other = waiter.claim.client;
        Some((shares.surplus(other, client)?, shares.levels(other), waiter.number))
    });
    surplus.max().map(|(_, _, number)| number)
}

impl Lease {
    /// From here on it is not preempted: what it is held for ends soon, and must not be interrupted. False
    /// when it has been preempted already.
    pub(super) fn keep(&self) -> bool {
        let mut state = self.queue.state();
        let Some(holder) = state.held.get_mut(&self.number) else { return false };
        holder.is_final = holder.next_holder.is_none();
        holder.is_final
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some((grant, lease)) = self.queue.release(self.number) {
            // Who gave up in this moment drops it, and the next one has it.
            let _ = grant.send(lease);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::{JoinHandle, yield_now};
    use tokio::time::{advance, sleep};

    use super::*;
    use crate::net::limits::tests::{client, nth};

    const MINUTE: Duration = Duration::from_secs(60);
    const GRACE: Duration = Duration::from_secs(10);

    fn queue(most: usize, most_per_client: usize, grace: Duration) -> Arc<FairQueue> {
        FairQueue::new(Limits { most, most_per_client, grace })
    }

    fn claim(client: ClientNet) -> Claim {
        Claim { client, alias: None, preempted: CancellationToken::new() }
    }

    /// A claim for the `n`th alias.
    fn for_alias(client: ClientNet, n: usize) -> Claim {
        Claim { alias: Some(format!("{:0>6}", n % 1000).parse().unwrap()), ..claim(client) }
    }

    async fn take(queue: &Arc<FairQueue>, client: ClientNet) -> Lease {
        queue.wait(claim(client), Duration::ZERO).await.unwrap()
    }

    fn wait(queue: &Arc<FairQueue>, claim: Claim) -> JoinHandle<Result<Lease, Busy>> {
        let queue = queue.clone();
        tokio::spawn(async move { queue.wait(claim, MINUTE).await })
    }

    /// A client that holds as many leases as it can, for as long as it can, and always wants more.
    fn be_greedy(queue: &Arc<FairQueue>, client: ClientNet) {
        for n in 0..12 {
            let queue = queue.clone();
            tokio::spawn(async move {
                loop {
                    let claim = for_alias(client, n);
                    let preempted = claim.preempted.clone();
                    match queue.wait(claim, MINUTE / 2).await {
                        Ok(lease) => {
                            preempted.cancelled().await;
                            drop(lease);
                        }
                        Err(_) => sleep(Duration::from_secs(1)).await,
                    }
                }
            });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn leases_end_for_one_client_and_for_all_and_come_back() {
        let queue = queue(3, 2, GRACE);
        let [first, _second] = [take(&queue, nth(1)).await, take(&queue, nth(1)).await];
        assert_eq!(queue.wait(claim(nth(1)), MINUTE).await.err(), Some(Busy::ForClient));
        let third = take(&queue, nth(2)).await;
        assert_eq!(queue.wait(claim(nth(2)), Duration::ZERO).await.err(), Some(Busy::ForAll));
        drop(third);
        drop(first);
        let _first = take(&queue, nth(1)).await;
        assert_eq!(queue.state().held.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_raised_limit_is_for_those_who_wait() {
        let queue = queue(1, 1, GRACE);
        let _held = take(&queue, nth(1)).await;
        let waiting = [2, 3, 4].map(|n| wait(&queue, claim(nth(n))));
        yield_now().await;
        queue.set_limits(Limits { most: 3, most_per_client: 1, grace: GRACE });
        yield_now().await;
        let granted: Vec<_> = waiting.iter().map(JoinHandle::is_finished).collect();
        assert_eq!(granted, [true, true, false], "in their order");
        assert_eq!(queue.state().held.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn of_fewer_than_five_leases_none_is_scarce_until_somebody_waits() {
        for most in 1..=5 {
            let queue = queue(most, 0, GRACE);
            let mut held = Vec::new();
            for _ in 0..most {
                held.push(take(&queue, nth(1)).await);
            }
            assert_eq!(queue.are_scarce(), most == 5, "{most}");
            let waiting = wait(&queue, claim(nth(1)));
            yield_now().await;
            assert!(queue.are_scarce(), "{most}");
            assert_eq!(waiting.await.unwrap().err(), Some(Busy::ForAll));
            assert_eq!(queue.are_scarce(), most == 5, "{most}: it has given up");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_lease_is_for_the_client_that_holds_fewest_and_then_for_who_waits_longest() {
        let queue = queue(3, 2, MINUTE);
        let held = [take(&queue, nth(1)).await, take(&queue, nth(1)).await, take(&queue, nth(2)).await];
        let mut waiting = Vec::new();
        for n in [1, 2, 3, 4, 2] {
            waiting.push(wait(&queue, claim(nth(n))));
            yield_now().await;
        }
        let mut order = Vec::new();
        let mut held: VecDeque<_> = held.into();
        while let Some(lease) = held.pop_front() {
            drop(lease);
            sleep(Duration::from_millis(1)).await;
            while let Some(at) = waiting.iter().position(JoinHandle::is_finished) {
                let lease = waiting.remove(at).await.unwrap().unwrap();
                order.push(queue.state().held[&lease.number].claim.client);
                held.push_back(lease);
            }
        }
        // At first 1 still holds one; when all hold none, it is the order of their coming.
        assert_eq!(order, [nth(3), nth(1), nth(2), nth(4), nth(2)]);
        let state = queue.state();
        assert!(state.held.is_empty() && state.shares.is_empty() && state.waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_takes_no_lease_with_it() {
        let queue = queue(2, 1, GRACE);
        let one = take(&queue, nth(1)).await;
        assert_eq!(queue.wait(claim(nth(1)), MINUTE).await.err(), Some(Busy::ForClient));
        let other = take(&queue, nth(2)).await;
        assert_eq!(queue.wait(claim(nth(3)), MINUTE).await.err(), Some(Busy::ForAll));
        let gone = wait(&queue, claim(nth(3)));
        yield_now().await;
        gone.abort();
        let _ = gone.await;
        drop((one, other));
        assert!(queue.state().held.is_empty() && queue.state().waiting.is_empty());
    }

    /// Which of `claims`, waiting in this order, are refused or displaced at once.
    async fn refused(queue: &Arc<FairQueue>, claims: Vec<Claim>) -> Vec<(usize, Busy)> {
        let start = Instant::now();
        let mut waiting = Vec::new();
        for claim in claims {
            waiting.push(wait(queue, claim));
            yield_now().await;
        }
        yield_now().await;
        let mut refused = Vec::new();
        for (n, waiter) in waiting.into_iter().enumerate() {
            if waiter.is_finished() {
                refused.push((n, waiter.await.unwrap().err().unwrap()));
            } else {
                waiter.abort();
            }
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        refused
    }

    /// docs/smtp.md §2: what one client, a wider network and one alias may have waiting.
    #[tokio::test(start_paused = true)]
    async fn ten_of_a_client_eighty_of_a_24_and_twenty_for_an_alias_wait_and_the_next_hears_so_at_once() {
        let queue = queue(1, 0, MINUTE);
        let _held = take(&queue, nth(0)).await;
        let of_client = (0..11).map(|n| for_alias(nth(1), n)).collect();
        assert_eq!(refused(&queue, of_client).await, [(10, Busy::ForClient)]);
        let of_24 = (0..85).map(|n| for_alias(client(&format!("10.0.0.{n}")), n)).collect();
        assert_eq!(refused(&queue, of_24).await, (80..85).map(|n| (n, Busy::ForClient)).collect::<Vec<_>>());
        let of_alias = (0..22).map(|n| for_alias(nth(n), 7)).collect();
        assert_eq!(refused(&queue, of_alias).await, [(20, Busy::ForAlias), (21, Busy::ForAlias)]);
    }

    /// docs/smtp.md §2: two clients that wait for an alias, or for the postmaster, as often as they may.
    #[tokio::test(start_paused = true)]
    async fn nobody_keeps_others_out_by_waiting_for_their_alias() {
        let queue = queue(1, 0, MINUTE);
        let _held = take(&queue, nth(0)).await;
        for to in [|client| for_alias(client, 7), claim] {
            let greedy = || (0..20).map(move |n| to(nth(1 + n / 10)));
            // The youngest of who has most; then of the other, who has one more.
            let claims = greedy().chain([to(nth(3)), to(nth(4))]).collect();
            assert_eq!(refused(&queue, claims).await, [(9, Busy::ForAll), (19, Busy::ForAll)]);
            // Neighbours are one; and who has most cannot displace who came instead.
            let neighbours = (0..20).map(|n| to(client(&format!("192.0.2.{n}"))));
            let claims = neighbours.chain([to(nth(3)), to(client("192.0.2.99"))]).collect();
            assert_eq!(refused(&queue, claims).await, [(19, Busy::ForAll), (21, Busy::ForAlias)]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_as_many_waiting_or_one_less_displaces_nobody() {
        let queue = queue(1, 0, MINUTE);
        let _held = take(&queue, nth(0)).await;
        // Two of each of ten clients; the eleventh has one of them in exchange, and no second.
        let claims = (0..20).map(|n| nth(1 + n / 2)).chain([nth(11), nth(11)]);
        let claims = claims.map(|client| for_alias(client, 7)).collect();
        assert_eq!(refused(&queue, claims).await, [(19, Busy::ForAll), (21, Busy::ForAlias)]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_keeps_a_neighbour_out_by_waiting() {
        let queue = queue(1, 0, MINUTE);
        let _held = take(&queue, nth(0)).await;
        // Eight hosts of a /24, two customers of a /48, a /64 of a /56: ten of each.
        let hosts: Vec<_> = (0..8).map(|n| format!("192.0.2.{n}")).collect();
        let customers = ["2001:db8::1", "2001:db8:0:100::1"].map(str::to_owned).to_vec();
        for (greedy, neighbour) in [
            (hosts, "192.0.2.99"),
            (customers, "2001:db8:0:900::1"),
            (vec!["2001:db8::1".to_owned()], "2001:db8:0:9::1"),
        ] {
            let places = 10 * greedy.len();
            let greedy = (0..places).map(|n| for_alias(client(&greedy[n / 10]), n));
            let claims = greedy.chain([for_alias(client(neighbour), 999)]).collect();
            assert_eq!(refused(&queue, claims).await, [(places - 1, Busy::ForAll)], "{neighbour}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_displaces_nobody() {
        let queue = queue(1, 0, MINUTE);
        let _held = take(&queue, nth(0)).await;
        // In its network there would be a place for it, but 20 others wait for its alias.
        let neighbours = (0..80).map(|n| for_alias(client(&format!("192.0.2.{}", n / 10)), n));
        let others = (1..=19).map(|n| for_alias(nth(n), 999));
        let own = for_alias(client("192.0.2.9"), 999);
        let claims = neighbours.chain(others).chain([own.clone(), own.clone()]).collect();
        assert_eq!(refused(&queue, claims).await, [(79, Busy::ForAll), (100, Busy::ForAlias)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_preempted_after_the_grace_for_who_holds_two_fewer() {
        let queue = queue(3, 0, GRACE);
        let claims: Vec<_> = (0..3).map(|_| claim(nth(1))).collect();
        let mut leases = VecDeque::new();
        for claim in &claims {
            leases.push_back(queue.wait(claim.clone(), Duration::ZERO).await.unwrap());
            advance(Duration::from_secs(1)).await;
        }
        let (start, waiting) = (Instant::now(), wait(&queue, claim(nth(2))));
        claims[0].preempted.cancelled().await;
        let waited = start.elapsed();
        assert!((GRACE - Duration::from_secs(3)..GRACE).contains(&waited), "{waited:?}");
        assert!(!waiting.is_finished(), "it has not been given back yet");
        drop(leases.pop_front());
        let second = waiting.await.unwrap().unwrap();
        // Two against one: it is nobody's turn to take.
        let other = wait(&queue, claim(nth(2)));
        sleep(MINUTE / 2).await;
        assert!(!other.is_finished() && !claims[1].preempted.is_cancelled());
        drop(second);
        assert!(other.await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_must_not_be_interrupted_is_not_preempted() {
        let queue = queue(2, 0, GRACE);
        let claims = [claim(nth(1)), claim(nth(1))];
        let first = queue.wait(claims[0].clone(), Duration::ZERO).await.unwrap();
        let second = queue.wait(claims[1].clone(), Duration::ZERO).await.unwrap();
        assert!(first.keep());
        let _waiting = wait(&queue, claim(nth(2)));
        claims[1].preempted.cancelled().await;
        assert!(!claims[0].preempted.is_cancelled());
        assert!(!second.keep(), "it is too late");
    }

    #[tokio::test(start_paused = true)]
    async fn an_heir_that_has_gone_leaves_its_lease_to_the_next() {
        let queue = queue(2, 0, GRACE);
        let claims = [claim(nth(1)), claim(nth(1))];
        let first = queue.wait(claims[0].clone(), Duration::ZERO).await.unwrap();
        let _second = queue.wait(claims[1].clone(), Duration::ZERO).await.unwrap();
        let gone = wait(&queue, claim(nth(2)));
        claims[0].preempted.cancelled().await;
        let next = wait(&queue, claim(nth(3)));
        yield_now().await;
        gone.abort();
        let _ = gone.await;
        drop(first);
        assert!(next.await.unwrap().is_ok());
        assert_eq!(queue.state().shares.levels(nth(2)), [0, 0, 0]);
    }

    /// A stranger's neighbour pays for it no more than everybody else.
    #[tokio::test(start_paused = true)]
    async fn a_neighbour_of_those_who_hold_most_has_a_lease_too() {
        let queue = queue(40, 10, GRACE);
        (1..=4).for_each(|n| be_greedy(&queue, client(&format!("192.0.2.{n}"))));
        sleep(MINUTE).await;
        assert!(queue.wait(claim(client("192.0.2.9")), GRACE).await.is_ok());
    }

    /// The attack that this is made for: those who hold on to all there is, and those who deliver.
    async fn honest_share(
        greedy: impl IntoIterator<Item = ClientNet>,
        honest: impl Fn(u32) -> ClientNet,
    ) -> usize {
        let queue = queue(40, 10, GRACE);
        greedy.into_iter().for_each(|client| be_greedy(&queue, client));
        sleep(MINUTE).await;
        let honest = (0..50).map(|n| {
            let (queue, client) = (queue.clone(), honest(n));
            tokio::spawn(async move {
                sleep(Duration::from_millis(500) * n).await;
                let lease = queue.wait(for_alias(client, 999), MINUTE / 2).await;
                sleep(Duration::from_millis(500)).await;
                lease.is_ok()
            })
        });
        let mut delivered = 0;
        for one in honest.collect::<Vec<_>>() {
            delivered += usize::from(one.await.unwrap());
        }
        delivered
    }

    /// docs/smtp.md §2: why 40.
    #[tokio::test(start_paused = true)]
    async fn up_to_39_clients_that_hold_on_to_all_leases_keep_nobody_out() {
        for greedy in [4, 39] {
            let delivered = honest_share((0..greedy).map(nth), |n| nth(1000 + n)).await;
            assert_eq!(delivered, 50, "beside {greedy}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_clients_of_one_network_are_no_more_than_one() {
        let neighbours = (0..16).map(|n| client(&format!("192.0.2.{n}")));
        assert_eq!(honest_share(neighbours, |n| nth(1000 + n)).await, 50);
        let customer = (0..16).map(|n| client(&format!("2001:db8:0:{n:x}00::1")));
        assert_eq!(honest_share(customer, |n| nth(1000 + n)).await, 50);
    }

    #[tokio::test(start_paused = true)]
    async fn a_providers_senders_in_one_network_are_not_kept_out() {
        let provider = |n| client(&format!("198.51.100.{}", n % 20));
        assert_eq!(honest_share((0..4).map(nth), provider).await, 50);
    }
}

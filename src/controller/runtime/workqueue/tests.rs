//! When each key is reconciled, in virtual time.

use super::*;

fn key(name: &str) -> String {
    name.to_owned()
}

fn blocked() -> Retry {
    Retry::Blocked(Barrier::new("create secrets: quota".to_owned(), "shop".to_owned()))
}

#[tokio::test(start_paused = true)]
async fn keys_come_out_when_they_are_due_and_in_order() {
    let now = Instant::now();
    let mut queue = WorkQueue::default();

    queue.add(&key("b"), Trigger::CacheCheck, now);
    queue.add(&key("a"), Trigger::LiveReconcile, now);
    queue.add(&key("c"), Trigger::LiveReconcile, now + Duration::from_secs(1));

    assert_eq!(queue.get(now), Some((key("a"), Trigger::LiveReconcile)));
    assert_eq!(queue.get(now), Some((key("b"), Trigger::CacheCheck)));
    assert_eq!(queue.get(now), None);
    assert_eq!(queue.next_at(), Some(now + Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn a_running_key_is_not_given_out_again_before_it_finished() {
    let now = Instant::now();
    let mut queue = WorkQueue::default();
    queue.add(&key("a"), Trigger::LiveReconcile, now);
    queue.get(now).unwrap();
    queue.start(&key("a"), None);

    queue.add(&key("a"), Trigger::CacheCheck, now);
    let meanwhile = queue.get(now);
    queue.done(&key("a"), &Ok(Action::default()), now);
    let after = queue.get(now + BASE_DELAY);

    assert_eq!(meanwhile, None);
    assert_eq!(after, Some((key("a"), Trigger::CacheCheck)));
}

#[tokio::test(start_paused = true)]
async fn what_the_watches_never_show_at_rest_is_compared_ever_more_rarely() {
    let began = Instant::now();
    let mut queue = WorkQueue::default();
    queue.add(&key("a"), Trigger::CacheCheck, began);
    let mut looks = 0;

    while let Some(at) = queue.next_at().filter(|at| *at < began + Duration::from_hours(1)) {
        queue.get(at).unwrap();
        queue.start(&key("a"), None);
        queue.done(&key("a"), &Ok(Action::default()), at);
        queue.schedule_cache_check(&key("a"), at);
        looks += 1;
    }
    queue.reset_backoff(&key("a"));
    let later = began + Duration::from_hours(1);
    queue.schedule_cache_check(&key("a"), later);

    assert!(looks < 25, "{looks} looks");
    assert_eq!(queue.next_at(), Some(later + BASE_DELAY));
}

#[tokio::test(start_paused = true)]
async fn failures_wait_ever_longer_up_to_five_minutes_and_success_forgets_them() {
    let now = Instant::now();
    let mut queue = WorkQueue::default();
    let mut waits = Vec::new();

    for _ in 0..12 {
        queue.add(&key("a"), Trigger::LiveReconcile, now);
        queue.get(now).unwrap();
        queue.start(&key("a"), None);
        queue.done(&key("a"), &Err(Retry::Backoff), now);
        waits.push(queue.next_at().unwrap() - now);
    }
    queue.add(&key("a"), Trigger::LiveReconcile, now);
    queue.get(now).unwrap();
    queue.start(&key("a"), None);
    queue.done(&key("a"), &Ok(Action::default()), now);

    assert!(waits.is_sorted());
    assert!(waits[0] <= Duration::from_secs(1));
    assert!(waits[11] <= Duration::from_mins(5) && waits[11] >= Duration::from_secs(225));
    assert_eq!(queue.next_at(), None);
}

#[tokio::test(start_paused = true)]
async fn waits_of_one_kind_do_not_lengthen_those_of_another() {
    let now = Instant::now();
    let mut queue = WorkQueue::default();
    let outage = [const { Retry::Backoff }; 10];

    for retry in outage.into_iter().chain([blocked()]) {
        queue.add(&key("a"), Trigger::LiveReconcile, now);
        queue.get(now).unwrap();
        queue.start(&key("a"), None);
        queue.done(&key("a"), &Err(retry), now);
    }

    assert!(queue.next_at().unwrap() - now <= Duration::from_secs(17));
}

#[tokio::test(start_paused = true)]
async fn the_return_of_the_api_server_hastens_those_that_failed() {
    let now = Instant::now();
    let mut queue = WorkQueue::default();
    for name in ["a", "b"] {
        queue.add(&key(name), Trigger::LiveReconcile, now);
    }
    let later =
        Action { requeue_after: Some(BASE_DELAY * 40), has_repaired: false, is_blocked: false };
    for _ in 0..2 {
        let (key, _) = queue.get(now).unwrap();
        queue.start(&key, None);
        let outcome = if key == "a" { Err(blocked()) } else { Ok(later) };
        queue.done(&key, &outcome, now);
    }

    queue.retry_failed_within(now, Duration::from_secs(1));

    assert_eq!(queue.get(now + Duration::from_secs(1)), Some((key("a"), Trigger::LiveReconcile)));
    assert_eq!(queue.get(now + Duration::from_secs(1)), None);
}

/// Reconciles whenever a key is due, for as long as `during`, and returns how often.
fn play(
    queue: &mut WorkQueue<String>,
    began: Instant,
    during: Duration,
    mut outcome: impl FnMut(&str) -> Result<Action, Retry>,
) -> usize {
    let mut looks = 0;
    while let Some(at) = queue.next_at().filter(|at| *at <= began + during) {
        let (key, _) = queue.get(at).unwrap();
        queue.start(&key, None);
        queue.done(&key, &outcome(&key), at);
        looks += 1;
    }
    looks
}

fn crowd(count: usize, now: Instant) -> WorkQueue<String> {
    let mut queue = WorkQueue::default();
    for number in 0..count {
        queue.add(&format!("{number:05}"), Trigger::LiveReconcile, now);
    }
    queue
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_blocked_objects_cost_one_look_or_two_a_minute_and_are_free_within_one() {
    let began = Instant::now();
    let minute = Duration::from_mins(1);
    let mut queue = crowd(10_000, began);
    play(&mut queue, began, Duration::ZERO, |_| Err(blocked()));

    let looks = play(&mut queue, began, minute * 20, |_| Err(blocked()));
    let mut free = BTreeSet::new();
    play(&mut queue, began + minute * 20, minute, |key| {
        free.insert(key.to_owned());
        Ok(Action::default())
    });

    assert!(looks <= 28, "{looks} looks in 20 minutes");
    assert_eq!(free.len(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn one_object_that_comes_free_alone_does_not_wake_all_the_others() {
    let began = Instant::now();
    let mut queue = crowd(10_000, began);
    play(&mut queue, began, Duration::ZERO, |_| Err(blocked()));

    let looks = play(&mut queue, began, Duration::from_mins(20), |key| {
        if key == "00003" { Ok(Action::default()) } else { Err(blocked()) }
    });

    assert!(looks <= 40, "{looks} looks");
}

#[tokio::test(start_paused = true)]
async fn another_tries_when_the_one_whose_turn_it_is_goes_away() {
    let began = Instant::now();
    let mut queue = crowd(3, began);
    play(&mut queue, began, Duration::ZERO, |_| Err(blocked()));

    queue.forget(&"00000".to_owned(), began);
    let mut tried = Vec::new();
    play(&mut queue, began, Duration::from_mins(1), |key| {
        tried.push(key.to_owned());
        Err(Retry::OnChange)
    });
    play(&mut queue, began, Duration::from_mins(2), |key| {
        tried.push(key.to_owned());
        Err(blocked())
    });

    assert_eq!(tried.first().map(String::as_str), Some("00001"));
    assert!(tried.contains(&"00002".to_owned()), "{tried:?}");
}

#[tokio::test(start_paused = true)]
async fn a_number_of_the_api_server_is_believed_within_a_bound() {
    let now = Instant::now();
    let mut queue = crowd(1, now);
    queue.get(now).unwrap();
    queue.start(&key("00000"), None);

    queue.done(&key("00000"), &Err(Retry::After(Duration::from_hours(24))), now);
    queue.add(&key("00000"), Trigger::CacheCheck, now);

    assert!(queue.next_at().unwrap() <= now + MAX_DELAY * 2);
}

#[tokio::test(start_paused = true)]
async fn looks_at_very_many_objects_in_trouble_take_a_bounded_rate() {
    let began = Instant::now();
    let hour = Duration::from_hours(1);
    let condition =
        Action { requeue_after: Some(BASE_DELAY * 120), has_repaired: false, is_blocked: true };
    let mut few = crowd(10, began);
    let mut many = crowd(10_000, began);

    let looks_of_few = play(&mut few, began, hour, |_| Ok(condition));
    let looks_of_many = play(&mut many, began, hour, |_| Ok(condition));

    assert_eq!(looks_of_few, 10 * 121, "every 30 seconds");
    assert!(looks_of_many < 4 * 10_000, "{looks_of_many} looks");
}

#[tokio::test(start_paused = true)]
async fn behind_a_barrier_events_count_only_if_users_ask_for_something_else() {
    let now = Instant::now();
    let mut queue = crowd(1, now);
    queue.get(now).unwrap();
    queue.start(&key("00000"), Some(1));
    assert!(!queue.holds(&key("00000"), Some(1)), "it has not failed yet");

    queue.done(&key("00000"), &Err(blocked()), now);

    assert!(queue.holds(&key("00000"), Some(1)));
    assert!(!queue.holds(&key("00000"), Some(2)));
    assert!(!queue.holds(&key("00000"), None));
}

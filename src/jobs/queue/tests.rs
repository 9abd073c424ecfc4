//! What every queue must do.

use super::*;

const ROOM: Room = Room { all: 100, owner: 50 };

fn queue() -> (tempfile::TempDir, Sqlite) {
    let dir = tempfile::tempdir().unwrap();
    let queue = Sqlite::open(dir.path()).unwrap();
    (dir, queue)
}

fn job(id: &str, owner: &str, priority: Priority) -> NewJob {
    let (id, owner) = (id.to_owned(), owner.to_owned());
    let (preset, work) = ("trim".to_owned(), "{}".to_owned());
    NewJob { id, owner, preset, work, priority, idempotency: None, now: 1000 }
}

async fn add(queue: &Sqlite, id: &str, owner: &str, priority: Priority) {
    let added = queue.add(job(id, owner, priority), ROOM).await.unwrap();
    assert!(matches!(added, Added::New(_)), "{added:?}");
}

async fn claim(queue: &Sqlite, now: i64) -> Option<String> {
    queue.claim("w", now, now + 60_000).await.unwrap().map(|job| job.id)
}

#[tokio::test]
async fn priorities_come_first_and_owners_take_turns() {
    let (_dir, queue) = queue();
    for id in ["a1", "a2", "a3", "a4"] {
        add(&queue, id, "a", Priority::Normal).await;
    }
    add(&queue, "b1", "b", Priority::Normal).await;
    add(&queue, "b2", "b", Priority::Normal).await;
    add(&queue, "low", "c", Priority::Low).await;
    add(&queue, "high", "a", Priority::High).await;
    let mut order = Vec::new();
    while let Some(id) = claim(&queue, 2000).await {
        queue.end(&id, "w", Ending::Succeeded { result: "{}".to_owned() }, 2000).await.unwrap();
        order.push(id);
    }
    assert_eq!(order, ["high", "b1", "a1", "b2", "a2", "a3", "a4", "low"]);
}

#[tokio::test]
async fn who_has_fewer_running_is_next() {
    let (_dir, queue) = queue();
    for id in ["a1", "a2", "a3"] {
        add(&queue, id, "a", Priority::Normal).await;
    }
    assert_eq!(claim(&queue, 2000).await.as_deref(), Some("a1"));
    assert_eq!(claim(&queue, 2000).await.as_deref(), Some("a2"));
    add(&queue, "b1", "b", Priority::Normal).await;
    add(&queue, "b2", "b", Priority::Normal).await;
    assert_eq!(claim(&queue, 2000).await.as_deref(), Some("b1"));
    assert_eq!(claim(&queue, 2000).await.as_deref(), Some("b2"), "one against two");
}

#[tokio::test]
async fn room_is_bounded_in_all_and_for_each() {
    let (_dir, queue) = queue();
    let room = Room { all: 3, owner: 2 };
    let mut said = Vec::new();
    for (id, owner) in [("1", "a"), ("2", "a"), ("3", "a"), ("4", "b"), ("5", "c")] {
        said.push(match queue.add(job(id, owner, Priority::Normal), room).await.unwrap() {
            Added::New(_) => "new",
            Added::OwnerFull => "owner",
            Added::Full => "full",
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(said, ["new", "new", "owner", "new", "full"]);
    // One that runs still is its owner's.
    assert_eq!(claim(&queue, 2000).await.as_deref(), Some("1"));
    assert_eq!(queue.waiting().await.unwrap(), 2);
    let more = queue.add(job("6", "a", Priority::Normal), room).await.unwrap();
    assert_eq!(more, Added::OwnerFull);
}

#[tokio::test]
async fn an_idempotency_key_stands_for_one_job_of_one_owner() {
    let (_dir, queue) = queue();
    let keyed = |id: &str, owner: &str, work: &str| NewJob {
        idempotency: Some("k".to_owned()),
        work: work.to_owned(),
        ..job(id, owner, Priority::Normal)
    };
    let Added::New(first) = queue.add(keyed("1", "a", "{}"), ROOM).await.unwrap() else { panic!() };
    assert_eq!(queue.add(keyed("2", "a", "{}"), ROOM).await.unwrap(), Added::Same(first));
    assert_eq!(queue.add(keyed("3", "a", "{\"x\":1}"), ROOM).await.unwrap(), Added::Other);
    assert!(matches!(queue.add(keyed("4", "b", "{}"), ROOM).await.unwrap(), Added::New(_)));
}

#[tokio::test]
async fn leases_end_and_the_last_attempt_is_the_end() {
    let (_dir, queue) = queue();
    add(&queue, "1", "a", Priority::Normal).await;
    queue.claim("dying", 2000, 3000).await.unwrap().unwrap();
    assert_eq!(queue.reclaim(2999, 2).await.unwrap(), 0);
    assert!(queue.renew("1", "dying", 4000).await.unwrap());
    assert_eq!(queue.reclaim(3000, 2).await.unwrap(), 0, "renewed");
    assert_eq!(queue.reclaim(4000, 2).await.unwrap(), 1);
    assert!(!queue.renew("1", "dying", 9000).await.unwrap(), "it is not its any more");
    let again = queue.claim("w", 4000, 5000).await.unwrap().unwrap();
    assert_eq!(again.attempts, 2);
    let late = Ending::Succeeded { result: "{}".to_owned() };
    assert!(!queue.end("1", "dying", late, 4500).await.unwrap(), "whoever lost it cannot end it");
    assert_eq!(queue.reclaim(5000, 2).await.unwrap(), 1);
    let job = queue.get("1").await.unwrap().unwrap();
    assert_eq!((job.state, job.attempts), (State::Dead, 2));
    let full = queue.revive("1", 6000, Room { all: 0, owner: 50 }).await.unwrap();
    assert_eq!(full, Some(Added::Full));
    queue.revive("1", 6000, ROOM).await.unwrap();
    assert_eq!(queue.claim("w", 6000, 7000).await.unwrap().unwrap().attempts, 1);
}

#[tokio::test]
async fn what_ran_when_the_server_died_waits_again() {
    let (dir, queue) = queue();
    add(&queue, "1", "a", Priority::Normal).await;
    assert_eq!(claim(&queue, 2000).await.as_deref(), Some("1"));
    assert!(matches!(Sqlite::open(dir.path()), Err(Error::InUse(_))));
    drop(queue);
    let queue = Sqlite::open(dir.path()).unwrap();
    assert_eq!(queue.reclaim(2000, 3).await.unwrap(), 1, "whatever time is left of its lease");
    assert_eq!(claim(&queue, 2000).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn attempts_are_put_off_released_and_cancelled() {
    let (_dir, queue) = queue();
    add(&queue, "1", "a", Priority::Normal).await;
    claim(&queue, 2000).await.unwrap();
    let again = Ending::Again { due: 5000, detail: "why".to_owned() };
    assert!(queue.end("1", "w", again, 2500).await.unwrap());
    assert_eq!(claim(&queue, 4999).await, None);
    claim(&queue, 5000).await.unwrap();
    assert!(queue.end("1", "w", Ending::Released { due: 5600 }, 5500).await.unwrap());
    let job = queue.get("1").await.unwrap().unwrap();
    assert_eq!((job.attempts, job.state, job.detail.as_deref()), (1, State::Queued, Some("why")));
    assert_eq!(claim(&queue, 5599).await, None);
    claim(&queue, 6000).await.unwrap();
    let before = queue.cancel("1", 6100).await.unwrap().unwrap();
    assert_eq!(before.state, State::Running);
    assert!(!queue.renew("1", "w", 9000).await.unwrap());
    let job = queue.get("1").await.unwrap().unwrap();
    assert_eq!((job.state, job.finished), (State::Cancelled, Some(6100)));
    assert!(queue.cancel("2", 6100).await.unwrap().is_none());
}

#[tokio::test]
async fn lists_are_paged_and_old_ones_forgotten() {
    let (_dir, queue) = queue();
    for id in ["1", "2", "3", "4"] {
        add(&queue, id, if id == "4" { "b" } else { "a" }, Priority::Normal).await;
    }
    let page = |owner: Option<&str>, state, after: Option<&str>| {
        let (owner, after) = (owner.map(str::to_owned), after.map(str::to_owned));
        let listed = queue.list(Listing { owner, state, after, limit: 2 });
        async { listed.await.unwrap().into_iter().map(|job| job.id).collect::<Vec<_>>() }
    };
    assert_eq!(page(None, None, None).await, ["4", "3"]);
    assert_eq!(page(None, None, Some("3")).await, ["2", "1"]);
    assert_eq!(page(Some("b"), None, None).await, ["4"]);
    for (id, at) in [("1", 10), ("2", 20), ("3", 30)] {
        queue.cancel(id, at).await.unwrap();
    }
    assert_eq!(page(None, Some(State::Queued), None).await, ["4"]);
    assert_eq!(queue.prune(15, 100).await.unwrap(), 1);
    assert_eq!(queue.prune(0, 1).await.unwrap(), 1, "more than are kept");
    assert_eq!(page(None, None, None).await, ["4", "3"]);
}

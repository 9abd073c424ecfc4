//! What every queue of jobs must do: the same of SQLite, and of a real PostgreSQL with several servers.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::join_all;
use millrace::{
    jobs::{
        Added, Ending, Listing, Lock, NewJob, Postgres, Priority, Queue, QueueError, Room, Sqlite, State,
    },
    store::database,
};
use millrace_kit::metrics::Registry;
use tempfile::TempDir;

use crate::uploads::database::Database;

const ROOM: Room = Room { all: 100, owner: 50 };

#[tokio::test]
async fn sqlite_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let queue = |name: &str| Arc::new(Sqlite::open(&dir.path().join(name)).unwrap()) as Arc<dyn Queue>;
    conforms(async |name| queue(name)).await;
}

/// One of the servers that share a database.
async fn server(database: &Database, name: &str) -> (TempDir, Arc<dyn Queue>) {
    let dir = tempfile::tempdir().unwrap();
    let server = database.url(name).parse().unwrap();
    let config = database::Config { server, connections: 4, ca_file: None };
    let lock = Lock::take(dir.path()).unwrap();
    let queue = Postgres::open(&config, lock, &Registry::new()).await.unwrap();
    (dir, Arc::new(queue))
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_conforms() {
    let database = Database::start().await;
    conforms(async |name| {
        database.create(name).await;
        server(&database, name).await.1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_share_a_queue() {
    let database = Database::start().await;
    database.create("shared").await;
    // Both bring the tables up.
    let ((_one, one), (_two, two)) = tokio::join!(server(&database, "shared"), server(&database, "shared"));
    // What many add at once stays within bounds, and is one job for each key.
    let room = Room { all: 20, owner: 50 };
    let (ids, keys): (Vec<_>, Vec<_>) = (0..40).map(|n| (format!("{n}"), format!("{}", n % 10))).unzip();
    let sent = ids.iter().zip(&keys).enumerate().map(|(n, (id, key))| {
        let keyed =
            NewJob { idempotency: (n % 2 == 0).then(|| key.clone()), ..job(id, "a", Priority::Normal) };
        if n % 3 == 0 { one.add(keyed, room) } else { two.add(keyed, room) }
    });
    let added = join_all(sent).await;
    let new = added.iter().filter(|added| matches!(added, Ok(Added::New(_)))).count();
    assert_eq!(new, 20, "{added:?}");
    assert_eq!((one.waiting().await.unwrap(), two.waiting().await.unwrap()), (20, 20));

    // None is had by two, and each is done once.
    let work = async |queue: &Arc<dyn Queue>, worker: &'static str| {
        let mut had = Vec::new();
        while let Some(job) = queue.claim(worker, 2000, 9000).await.unwrap() {
            had.push((job.id, worker));
        }
        had
    };
    let (a, b, c, d) = tokio::join!(work(&one, "1a"), work(&one, "1b"), work(&two, "2a"), work(&two, "2b"));
    let had = [a, b, c, d].concat();
    assert_eq!((had.len(), had.iter().map(|(id, _)| id).collect::<BTreeSet<_>>().len()), (20, 20));

    // What one server left behind, the other takes up; what it says too late does not count.
    let (left, worker) = &had[0];
    assert!(one.renew(left, worker, 3000, 0.25).await.unwrap());
    assert_eq!(two.get(left).await.unwrap().unwrap().progress, 0.25, "how far it was is known to all");
    assert_eq!(two.reclaim(3000, 3).await.unwrap(), 1);
    let again = two.claim("other", 3000, 9000).await.unwrap().unwrap();
    assert_eq!((&again.id, again.attempts, again.progress), (left, 2, 0.0));
    assert!(!one.renew(left, worker, 9000, 0.5).await.unwrap());
    let done = || Ending::Succeeded { result: "{}".to_owned() };
    assert!(!one.end(left, worker, done(), 4000).await.unwrap());
    assert!(two.end(left, "other", done(), 4000).await.unwrap());

    // Each connection may break once, which is said; then there are others.
    database.end_connections("shared").await;
    let mut said = Vec::new();
    let waiting = loop {
        match one.waiting().await {
            Ok(waiting) => break waiting,
            Err(error) => said.push(error),
        }
        assert!(said.len() < 10, "{said:?}");
    };
    assert_eq!(waiting, 0);
    assert!(said.iter().all(|error| matches!(error, QueueError::Unavailable(_))), "{said:?}");
}

/// `open`: an empty queue of that name.
async fn conforms(open: impl AsyncFn(&str) -> Arc<dyn Queue>) {
    priorities_come_first_and_owners_take_turns(&*open("a").await).await;
    who_has_fewer_running_is_next(&*open("b").await).await;
    room_is_bounded_in_all_and_for_each(&*open("c").await).await;
    an_idempotency_key_stands_for_one_job_of_one_owner(&*open("d").await).await;
    leases_end_and_the_last_attempt_is_the_end(&*open("e").await).await;
    attempts_are_put_off_released_and_cancelled(&*open("f").await).await;
    lists_are_paged_and_old_ones_forgotten(&*open("g").await).await;
    what_waits_long_is_not_passed_by_for_ever(&*open("h").await).await;
}

fn job(id: &str, owner: &str, priority: Priority) -> NewJob {
    let (id, owner) = (id.to_owned(), owner.to_owned());
    let (preset, work) = ("trim".to_owned(), "{}".to_owned());
    NewJob { id, owner, preset, work, priority, idempotency: None, now: 1000 }
}

async fn add(queue: &dyn Queue, id: &str, owner: &str, priority: Priority) {
    let added = queue.add(job(id, owner, priority), ROOM).await.unwrap();
    assert!(matches!(added, Added::New(_)), "{added:?}");
}

async fn claim(queue: &dyn Queue, now: i64) -> Option<String> {
    queue.claim("w", now, now + 60_000).await.unwrap().map(|job| job.id)
}

async fn priorities_come_first_and_owners_take_turns(queue: &dyn Queue) {
    for id in ["a1", "a2", "a3", "a4"] {
        add(queue, id, "a", Priority::Normal).await;
    }
    add(queue, "b1", "b", Priority::Normal).await;
    add(queue, "b2", "b", Priority::Normal).await;
    add(queue, "low", "c", Priority::Low).await;
    add(queue, "high", "a", Priority::High).await;
    let mut order = Vec::new();
    while let Some(id) = claim(queue, 2000).await {
        queue.end(&id, "w", Ending::Succeeded { result: "{}".to_owned() }, 2000).await.unwrap();
        order.push(id);
    }
    assert_eq!(order, ["high", "b1", "a1", "b2", "a2", "a3", "a4", "low"]);
}

async fn who_has_fewer_running_is_next(queue: &dyn Queue) {
    for id in ["a1", "a2", "a3"] {
        add(queue, id, "a", Priority::Normal).await;
    }
    assert_eq!(claim(queue, 2000).await.as_deref(), Some("a1"));
    assert_eq!(claim(queue, 2000).await.as_deref(), Some("a2"));
    add(queue, "b1", "b", Priority::Normal).await;
    add(queue, "b2", "b", Priority::Normal).await;
    assert_eq!(claim(queue, 2000).await.as_deref(), Some("b1"));
    assert_eq!(claim(queue, 2000).await.as_deref(), Some("b2"), "one against two");
}

async fn room_is_bounded_in_all_and_for_each(queue: &dyn Queue) {
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
    assert_eq!(claim(queue, 2000).await.as_deref(), Some("1"));
    assert_eq!(queue.waiting().await.unwrap(), 2);
    let more = queue.add(job("6", "a", Priority::Normal), room).await.unwrap();
    assert_eq!(more, Added::OwnerFull);
}

async fn an_idempotency_key_stands_for_one_job_of_one_owner(queue: &dyn Queue) {
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

async fn leases_end_and_the_last_attempt_is_the_end(queue: &dyn Queue) {
    add(queue, "1", "a", Priority::Normal).await;
    queue.claim("dying", 2000, 3000).await.unwrap().unwrap();
    assert_eq!(queue.reclaim(2999, 2).await.unwrap(), 0);
    assert!(queue.renew("1", "dying", 4000, 0.5).await.unwrap());
    assert_eq!(queue.reclaim(3000, 2).await.unwrap(), 0, "renewed");
    assert_eq!(queue.reclaim(4000, 2).await.unwrap(), 1);
    assert!(!queue.renew("1", "dying", 9000, 0.5).await.unwrap(), "it is not its any more");
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
    let dir = tempfile::tempdir().unwrap();
    let queue = Sqlite::open(dir.path()).unwrap();
    add(&queue, "1", "a", Priority::Normal).await;
    assert_eq!(claim(&queue, 2000).await.as_deref(), Some("1"));
    assert!(matches!(Sqlite::open(dir.path()), Err(QueueError::InUse(_))));
    drop(queue);
    let queue = Sqlite::open(dir.path()).unwrap();
    assert_eq!(queue.reclaim(2000, 3).await.unwrap(), 1, "whatever time is left of its lease");
    assert_eq!(claim(&queue, 2000).await.as_deref(), Some("1"));
}

async fn attempts_are_put_off_released_and_cancelled(queue: &dyn Queue) {
    add(queue, "1", "a", Priority::Normal).await;
    claim(queue, 2000).await.unwrap();
    let again = Ending::Again { due: 5000, detail: "why".to_owned() };
    assert!(queue.end("1", "w", again, 2500).await.unwrap());
    assert_eq!(claim(queue, 4999).await, None);
    claim(queue, 5000).await.unwrap();
    assert!(queue.end("1", "w", Ending::Released { due: 5600 }, 5500).await.unwrap());
    let job = queue.get("1").await.unwrap().unwrap();
    assert_eq!((job.attempts, job.state, job.detail.as_deref()), (1, State::Queued, Some("why")));
    assert_eq!(claim(queue, 5599).await, None);
    claim(queue, 6000).await.unwrap();
    let before = queue.cancel("1", 6100).await.unwrap().unwrap();
    assert_eq!(before.state, State::Running);
    assert!(!queue.renew("1", "w", 9000, 0.5).await.unwrap());
    let job = queue.get("1").await.unwrap().unwrap();
    assert_eq!((job.state, job.finished), (State::Cancelled, Some(6100)));
    assert!(queue.cancel("2", 6100).await.unwrap().is_none());
}

async fn lists_are_paged_and_old_ones_forgotten(queue: &dyn Queue) {
    for id in ["1", "2", "3", "4"] {
        add(queue, id, if id == "4" { "b" } else { "a" }, Priority::Normal).await;
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

async fn what_waits_long_is_not_passed_by_for_ever(queue: &dyn Queue) {
    const HOUR: i64 = 3_600_000;
    add(queue, "low", "a", Priority::Low).await;
    let begun = |at: i64| async move {
        let job = NewJob { now: at, ..job(&format!("n{at}"), "b", Priority::Normal) };
        queue.add(job, ROOM).await.unwrap();
        claim(queue, at).await.unwrap()
    };
    assert_eq!(begun(2000).await, "n2000");
    assert_eq!(begun(HOUR).await, "low", "it has waited for an hour");
    // An operator's job is passed by by nobody.
    let urgent = |id: &str, at: i64| NewJob { now: at, ..job(id, "c", Priority::High) };
    add(queue, "old", "a", Priority::Low).await;
    queue.add(urgent("urgent", 2 * HOUR), ROOM).await.unwrap();
    assert_eq!(claim(queue, 2 * HOUR).await.as_deref(), Some("urgent"), "an owner who has nothing running");
}

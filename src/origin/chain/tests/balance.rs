//! How requests are shared out over origins that can all answer them.

use super::{super::Share, *};
use crate::origin::{Place, Places};

fn shared(balance: Balance, shares: &[(Share, Step)]) -> (Chain, Vec<Arc<Scripted>>) {
    let scripts: Vec<_> = shares.iter().map(|(_, step)| std::slice::from_ref(step)).collect();
    let (chain, origins, _) = chain_of(&scripts, policy(), |origin| {
        let index = usize::from(origin.name.as_bytes()[0] - b'a');
        Member::new(origin, member::Config { share: shares[index].0, ..generous() })
    });
    (chain.balanced(balance), origins)
}

fn path(number: usize) -> Request {
    Request::new(Method::GET, format!("/films/{number}?x"))
}

async fn ask(chain: &Chain, requests: usize) -> Vec<String> {
    let mut verdicts = Vec::new();
    for number in 0..requests {
        verdicts.push(verdict(&chain.fetch(path(number)).await));
    }
    verdicts
}

const GOOD: Step = Status(200);
const WEIGHTS: [(Share, Step); 3] =
    [(Share::Weight(1), GOOD), (Share::Weight(3), GOOD), (Share::Weight(4), GOOD)];

#[tokio::test(start_paused = true)]
async fn requests_are_shared_by_weight() {
    for balance in [Balance::Hash, Balance::Random] {
        let (chain, origins) = shared(balance, &WEIGHTS);
        ask(&chain, 8000).await;
        for (count, due) in counts(&origins).into_iter().zip([1000, 3000, 4000]) {
            // Far beyond six standard deviations.
            assert!(count.abs_diff(due) < 300, "{balance:?}: {count} instead of {due}");
        }
    }
    let (chain, origins) = shared(Balance::Order, &WEIGHTS);
    ask(&chain, 20).await;
    assert_eq!(counts(&origins), [20, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn an_address_keeps_its_origin_whoever_else_comes_or_goes() {
    let (three, _) = shared(Balance::Hash, &WEIGHTS);
    let (two, _) = shared(Balance::Hash, &WEIGHTS[..2]);
    let before = ask(&three, 500).await;
    assert_eq!(before, ask(&three, 500).await);
    let after = ask(&two, 500).await;
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || before == "c 200", "{before} became {after}");
    }
    assert!(after.iter().any(|verdict| verdict == "a 200"));
}

#[tokio::test(start_paused = true)]
async fn those_ahead_come_first_and_backups_last() {
    for balance in [Balance::Order, Balance::Hash, Balance::Random] {
        let gone = (Share::Weight(5), CONNECT);
        let missing = (Share::Ahead, Status(404));
        let (chain, origins) = shared(balance, &[(Share::Backup, GOOD), gone, missing, gone]);
        let verdicts = ask(&chain, 1).await;
        assert_eq!((verdicts, counts(&origins)), (vec!["a 200".to_owned()], vec![1, 1, 1, 1]), "{balance:?}");
        let (chain, origins) = shared(balance, &[(Share::Backup, GOOD), (Share::Weight(1), GOOD)]);
        ask(&chain, 20).await;
        assert_eq!(counts(&origins), [0, 20], "{balance:?}");
    }
}

/// What fails at one goes to another, and then keeps away from the first.
#[tokio::test(start_paused = true)]
async fn equals_stand_in_for_one_that_is_gone() {
    for balance in [Balance::Hash, Balance::Random] {
        let (chain, origins) = shared(balance, &[(Share::Weight(1), GOOD), (Share::Weight(1), CONNECT)]);
        assert!(ask(&chain, 100).await.iter().all(|verdict| verdict == "a 200"), "{balance:?}");
        assert_eq!(counts(&origins), [100, 1], "{balance:?}");
        for number in 0..100 {
            let post = Request { method: Method::POST, ..path(number) };
            assert_eq!(verdict(&chain.fetch(post).await), "a 200", "{balance:?}");
        }
    }
}

/// Has places, and answers with its name.
struct Busy(Arc<str>, Arc<Places>);

impl Origin for Busy {
    fn name(&self) -> &Arc<str> {
        &self.0
    }

    fn fetch(&self, _: Request) -> BoxFuture<'_, Result<Response, Error>> {
        futures_util::future::err(Error::new(&self.0, ErrorKind::Forbidden, "here")).boxed()
    }

    fn places(&self) -> Option<&Arc<Places>> {
        Some(&self.1)
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_the_less_busy_one_is_asked_first() {
    let places: Vec<_> = (0..2).map(|_| Arc::new(Places::new(10, 10))).collect();
    let names = ["one", "other"];
    let members = names.iter().zip(&places).map(|(name, places)| {
        Arc::new(Member::new(Arc::new(Busy((*name).into(), places.clone())), generous()))
    });
    let chain = Chain::new(members.collect(), policy()).balanced(Balance::Random);
    for (name, places) in names.iter().zip(&places) {
        let _busy: Place = places.take().await.unwrap();
        for number in 0..20 {
            // A refusal is passed on to the next, and the last one counts.
            let refused = chain.fetch(path(number)).await.err().unwrap();
            assert_eq!(&*refused.origin, *name);
        }
    }
}

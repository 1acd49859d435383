//! The input is what the job's own parser reads.

use tidemill_examples::balances::Transaction;

use super::{Ledger, Made, Spread, Transactions, account_number};

#[test]
fn the_job_reads_what_was_written() {
    let transactions = Transactions::new(1, 100);
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for number in 0..1_000 {
        let made = transactions.make(number, Spread::Random);
        transactions.write(number, made, &mut key, &mut value);
        let read: Transaction = serde_json::from_slice(&value).unwrap();
        assert_eq!(read.account_id.as_bytes(), key);
        assert_eq!(account_number(&key), Some(made.account));
        assert_eq!(read.change(), made.change);
    }
}

#[test]
fn in_turn_the_count_of_an_account_tells_the_transaction() {
    let transactions = Transactions::new(1, 10);
    let made = transactions.make(37, Spread::InTurn);
    assert_eq!(made.account, 7);
}

#[test]
fn a_difference_names_the_account() {
    let (mut found, mut expected) = (Ledger::new(2), Ledger::new(2));
    expected.add(1, 5, 1);
    assert_ne!(found.hash(), expected.hash());
    assert!(found.difference(&expected).is_some_and(|text| text.contains("account 1 ")));
    let Made { account, change } = Made { account: 1, change: 5 };
    found.add(account, change, 1);
    assert_eq!(found.difference(&expected), None);
}

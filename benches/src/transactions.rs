//! The input: transactions that follow from a seed, and the balances that must come of them.

use std::io::Write;

/// The transactions of one seed. Each follows from its number alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transactions {
    seed: u64,
    accounts: u32,
}

/// Which account a transaction is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// Any, by the seed.
    Random,
    /// One after the other: transaction `n` on account `n` modulo their number. So the balance that
    /// counts `c` transactions of an account tells which transactions it has seen.
    InTurn,
}

/// What is to be known about one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) account: u32,
    /// Minor units; negative for a withdrawal.
    pub(crate) change: i64,
}

impl Transactions {
    pub(crate) fn new(seed: u64, accounts: u32) -> Self {
        Self { seed, accounts: accounts.max(1) }
    }

    pub(crate) fn accounts(self) -> u32 {
        self.accounts
    }

    /// Returns the transaction with this number.
    pub(crate) fn make(self, number: u64, spread: Spread) -> Made {
        let random = mix(self.seed ^ mix(number));
        let accounts = u64::from(self.accounts);
        let account = match spread {
            Spread::Random => mix(random) % accounts,
            Spread::InTurn => number % accounts,
        };
        let amount = i64::try_from(random % 100_000).unwrap_or(0) + 1;
        // three deposits to one withdrawal
        let change = if random >> 62 == 0 { -amount } else { amount };
        Made { account: u32::try_from(account).unwrap_or(0), change }
    }

    /// Replaces `key` and `value` by the bytes of a transaction.
    pub(crate) fn write(self, number: u64, made: Made, key: &mut Vec<u8>, value: &mut Vec<u8>) {
        key.clear();
        value.clear();
        write_account(made.account, key);
        let kind = if made.change < 0 { "withdrawal" } else { "deposit" };
        let amount = made.change.unsigned_abs();
        value.extend_from_slice(b"{\"id\":\"t-");
        let id_and_account = write!(value, "{number}\",\"account_id\":\"");
        value.extend_from_slice(key);
        let rest = write!(
            value,
            "\",\"type\":\"{kind}\",\"amount\":\"{}.{:02}\"}}",
            amount / 100,
            amount % 100
        );
        id_and_account.and(rest).expect("writing to a vector never fails");
    }
}

fn write_account(account: u32, out: &mut Vec<u8>) {
    write!(out, "account-{account:07}").expect("writing to a vector never fails");
}

/// Returns the number of an account from its name.
pub(crate) fn account_number(name: &[u8]) -> Option<u32> {
    let digits = name.strip_prefix(b"account-")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The balances of all accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// By account: minor units and how many transactions made them.
    pub(crate) accounts: Vec<(i64, u64)>,
}

impl Ledger {
    pub(crate) fn new(accounts: u32) -> Self {
        Self { accounts: vec![(0, 0); accounts as usize] }
    }

    pub(crate) fn add(&mut self, account: u32, change: i64, transactions: u64) {
        if let Some(entry) = self.accounts.get_mut(account as usize) {
            entry.0 += change;
            entry.1 += transactions;
        }
    }

    /// How many transactions are in it.
    pub(crate) fn transactions(&self) -> u64 {
        self.accounts.iter().map(|(_, transactions)| transactions).sum()
    }

    /// FNV-1a over all of it: equal runs print equal hashes.
    pub(crate) fn hash(&self) -> u64 {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for (balance, transactions) in &self.accounts {
            for byte in balance.to_le_bytes().into_iter().chain(transactions.to_le_bytes()) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        hash
    }

    /// Returns the first difference, in words.
    pub(crate) fn difference(&self, expected: &Self) -> Option<String> {
        let pairs = self.accounts.iter().zip(&expected.accounts).enumerate();
        for (account, (found, wanted)) in pairs {
            if found != wanted {
                return Some(format!(
                    "account {account} has (cents, transactions) {found:?}, expected {wanted:?}; \
                     {} of {} transactions arrived",
                    self.transactions(),
                    expected.transactions(),
                ));
            }
        }
        None
    }
}

/// splitmix64's finalizer.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;

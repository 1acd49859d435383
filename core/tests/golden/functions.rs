//! The closed set of functions that a scenario can name; `Functions.java` has the same ones.

use tidemill_core::BoxError;

use crate::data::Datum::{self, Long, Null, Text};

type Result<T> = std::result::Result<T, BoxError>;
pub(crate) type Predicate = fn(&Datum, &Datum) -> Result<bool>;
pub(crate) type ToValue = fn(&Datum, Datum) -> Result<Datum>;
pub(crate) type ToValues = fn(&Datum, Datum) -> Vec<Datum>;
pub(crate) type ToPair = fn(Datum, Datum) -> Result<(Datum, Datum)>;
pub(crate) type ToPairs = fn(Datum, Datum) -> Vec<(Datum, Datum)>;
pub(crate) type ToKey = fn(&Datum, &Datum) -> Result<Datum>;
pub(crate) type Reducer = fn(Datum, Datum) -> Result<Option<Datum>>;
pub(crate) type Aggregator = fn(&Datum, Datum, Datum) -> Result<Option<Datum>>;

pub(crate) type Joiner = fn(&Datum, &Datum) -> Datum;

fn unknown<T>(role: &str, name: &str) -> Result<T> {
    Err(format!("no {role} is called {name}").into())
}

fn fail_on_bad<T: Into<Datum>>(value: T) -> Result<Datum> {
    let value = value.into();
    if value.text() == "bad" { Err("a bad value".into()) } else { Ok(value) }
}

impl From<&Datum> for Datum {
    fn from(datum: &Datum) -> Self {
        datum.clone()
    }
}

fn even_to_null(value: &Datum, otherwise: Datum) -> Datum {
    if value.is_even() { Null } else { otherwise }
}

fn two(a: &Datum, between: &str, b: &Datum) -> Datum {
    Text(format!("{}{between}{}", a.text(), b.text()))
}

fn add(a: &Datum, b: &Datum) -> Datum {
    Long(a.measure().wrapping_add(b.measure()))
}

fn subtract(a: &Datum, b: &Datum) -> Datum {
    Long(a.measure().wrapping_sub(b.measure()))
}

fn upper(value: Datum) -> Datum {
    match value {
        Text(text) => Text(text.to_uppercase()),
        other => other,
    }
}

/// The words between blanks, as Java's `split` has them: empty ones at the end are left out.
fn words(value: &Datum) -> Vec<Datum> {
    if *value == Null {
        return Vec::new();
    }
    let text = value.text();
    let mut words: Vec<&str> = text.split(' ').collect();
    while words.len() > 1 && words.last() == Some(&"") {
        words.pop();
    }
    if words == [""] && !text.is_empty() {
        words.clear();
    }
    words.into_iter().map(|word| Text(word.to_owned())).collect()
}

pub(crate) fn predicate(name: &str) -> Result<Predicate> {
    Ok(match name {
        "always" => |_, _| Ok(true),
        "never" => |_, _| Ok(false),
        "key_is_null" => |key, _| Ok(*key == Null),
        "value_is_null" => |_, value| Ok(*value == Null),
        "value_is_even" => |_, value| Ok(value.is_even()),
        "value_is_large" => |_, value| Ok(value.measure() > 3),
        "key_begins_with_a" => |key, _| Ok(key.text().starts_with('a')),
        "fail_on_bad" => |_, value| Ok(fail_on_bad(value)? != Null),
        _ => return unknown("predicate", name),
    })
}

pub(crate) fn value(name: &str) -> Result<ToValue> {
    Ok(match name {
        "same" => |_, value| Ok(value),
        "null" => |_, _| Ok(Null),
        "upper" => |_, value| Ok(upper(value)),
        "length" => |_, value| Ok(Long(value.measure())),
        "twice" => |_, value| match value {
            Null => Ok(Null),
            value => Ok(Long(value.measure().wrapping_mul(2))),
        },
        "with_key" => |key, value| Ok(two(&value, "@", key)),
        "text" => |_, value| Ok(Text(value.text().into_owned())),
        "null_if_even" => |_, value| Ok(even_to_null(&value, value.clone())),
        "fail_on_bad" => |_, value| fail_on_bad(value),
        _ => return unknown("value mapper", name),
    })
}

pub(crate) fn values(name: &str) -> Result<ToValues> {
    Ok(match name {
        "none" => |_, _| Vec::new(),
        "words" => |_, value| words(&value),
        "two" => |_, value| vec![value.clone(), value],
        "value_and_null" => |_, value| vec![value, Null],
        "upper_and_key" => |key, value| vec![upper(value), Text(key.text().into_owned())],
        _ => return unknown("mapper to values", name),
    })
}

pub(crate) fn pair(name: &str) -> Result<ToPair> {
    Ok(match name {
        "same" => |key, value| Ok((key, value)),
        "swap" => |key, value| Ok((value, key)),
        "value_as_key" => |_, value| Ok((value.clone(), value)),
        "null_key" => |_, value| Ok((Null, value)),
        "null_value" => |key, _| Ok((key, Null)),
        "text_and_length" => {
            |key, value| Ok((Text(value.text().into_owned()), Long(key.measure())))
        }
        "fail_on_bad" => |key, value| Ok((key, fail_on_bad(value)?)),
        _ => return unknown("mapper to a pair", name),
    })
}

pub(crate) fn pairs(name: &str) -> Result<ToPairs> {
    Ok(match name {
        "none" => |_, _| Vec::new(),
        "two" => |key, value| vec![(key.clone(), value.clone()), (key, value)],
        "both_ways" => |key, value| vec![(key.clone(), value.clone()), (value, key)],
        "words_as_keys" => {
            |_, value| words(&value).into_iter().map(|word| (word, value.clone())).collect()
        }
        _ => return unknown("mapper to pairs", name),
    })
}

pub(crate) fn key(name: &str) -> Result<ToKey> {
    Ok(match name {
        "same" => |key, _| Ok(key.clone()),
        "null" => |_, _| Ok(Null),
        "value" => |_, value| Ok(value.clone()),
        "first_letter" => |_, value| {
            let first = value.text().chars().take(1).collect();
            Ok(if *value == Null { Null } else { Text(first) })
        },
        "length" => |_, value| Ok(if *value == Null { Null } else { Long(value.measure()) }),
        "null_if_even" => |key, value| Ok(even_to_null(value, key.clone())),
        "text" => |key, _| Ok(Text(key.text().into_owned())),
        "fail_on_bad" => {
            |key, value| Ok(if fail_on_bad(value)? == Null { Null } else { key.clone() })
        }
        _ => return unknown("key selector", name),
    })
}

pub(crate) fn reducer(name: &str) -> Result<Reducer> {
    Ok(match name {
        "add" => |a, b| Ok(Some(add(&a, &b))),
        "subtract" => |a, b| Ok(Some(subtract(&a, &b))),
        "concat" => |a, b| Ok(Some(two(&a, "+", &b))),
        "concat_minus" => |a, b| Ok(Some(two(&a, "-", &b))),
        "latest" => |_, b| Ok(Some(b)),
        "first" => |a, _| Ok(Some(a)),
        "largest" => |a, b| Ok(Some(if b.measure() > a.measure() { b } else { a })),
        "null_if_equal" => |a, b| Ok((a != b).then_some(b)),
        "fail_on_bad" => |_, b| Ok(Some(fail_on_bad(b)?)),
        _ => return unknown("reducer", name),
    })
}

pub(crate) fn initial(name: &str) -> Result<Datum> {
    Ok(match name {
        "zero" => Long(0),
        "hundred" => Long(100),
        "empty" => Text(String::new()),
        "nil" => Text("nil".to_owned()),
        _ => return unknown("initial value", name),
    })
}

pub(crate) fn aggregator(name: &str) -> Result<Aggregator> {
    Ok(match name {
        "sum" => |_, value, total| Ok(Some(add(&total, &value))),
        "subtract" => |_, value, total| Ok(Some(subtract(&total, &value))),
        "count" => |_, _, total| Ok(Some(add(&total, &Long(1)))),
        "concat" => |_, value, total| Ok(Some(two(&total, "+", &value))),
        "concat_minus" => |_, value, total| Ok(Some(two(&total, "-", &value))),
        "key_and_value" => |key, value, total| Ok(Some(two(&two(&total, "", key), "", &value))),
        "latest" => |_, value, _| Ok(value.non_null()),
        "same" => |_, _, total| Ok(Some(total)),
        "sum_null_on_zero" => {
            |_, value, total| Ok((value.measure() != 0).then(|| add(&total, &value)))
        }
        "fail_on_bad" => |_, value, _| Ok(fail_on_bad(value)?.non_null()),
        _ => return unknown("aggregator", name),
    })
}

pub(crate) fn merger(name: &str) -> Result<Joiner> {
    Ok(match name {
        "add" => add,
        "concat" => |a, b| two(a, "|", b),
        _ => return unknown("merger", name),
    })
}

pub(crate) fn joiner(name: &str) -> Result<Joiner> {
    Ok(match name {
        "concat" => |a, b| two(a, "/", b),
        "add" => add,
        "left" => |a, _| a.clone(),
        "right" => |_, b| b.clone(),
        "null" => |_, _| Null,
        "null_if_equal" => |a, b| if a.text() == b.text() { Null } else { two(a, "", b) },
        _ => return unknown("joiner", name),
    })
}

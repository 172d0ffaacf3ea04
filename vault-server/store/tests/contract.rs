//! The port's contract, on every adapter.
//!
//! etcd is taken from the variable `COFFER_TEST_ETCD`: the URL of a server that may be written to.

#[cfg(test)]
mod contract {
    pub(crate) mod feed;
    pub(crate) mod fixture;
    pub(crate) mod limits;
    pub(crate) mod model;
    pub(crate) mod reads;
    pub(crate) mod writes;
}

/// Makes a test of a behaviour for one adapter.
macro_rules! behaviour {
    ([$($attribute:tt)*] $adapter:ident, $module:ident::$behaviour:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $($attribute)*
        async fn $behaviour() {
            let fixture = fixture::$adapter().await;
            $module::$behaviour(&fixture).await;
        }
    };
}

macro_rules! behaviours {
    ($attributes:tt $adapter:ident, $($module:ident::{$($behaviour:ident),* $(,)?}),* $(,)?) => {
        mod $adapter {
            use crate::contract::{fixture, $($module),*};
            behaviours! { @ $($(($attributes $adapter, $module::$behaviour))*)* }
        }
    };
    (@ $(($($arguments:tt)*))*) => { $(behaviour! { $($arguments)* })* };
}

macro_rules! contract {
    ($adapter:ident, $attributes:tt) => {
        behaviours! { $attributes $adapter,
            writes::{
                a_condition_that_does_not_hold_writes_nothing,
                a_transaction_is_applied_all_or_not_at_all,
                conditions_are_about_the_state_before_the_writes,
                a_version_counts_from_one_since_the_key_was_last_absent,
                what_is_written_without_looking_is_there_or_gone,
                version_zero_never_holds,
                the_revision_grows_with_every_change_and_only_then,
                one_of_many_conflicting_commits_wins,
                concurrent_commits_each_get_a_revision_of_their_own,
                counters_lose_no_increment,
            },
            reads::{
                a_read_sees_what_was_acknowledged,
                a_range_is_in_the_order_of_bytes,
                a_range_goes_from_its_start_to_before_its_end,
                pages_follow_one_another,
                a_page_is_consistent,
                a_value_of_one_mebibyte_comes_back,
                any_bytes_are_a_key_and_a_value,
                values_of_every_size_come_back,
            },
            limits::{
                operations_at_the_limit_and_past_it,
                bytes_at_the_limit_and_past_it,
                keys_at_the_limit_and_past_it,
                the_largest_request_fits,
                pages_at_the_limit_and_past_it,
                a_page_of_too_many_bytes_is_refused,
                a_key_written_twice_is_refused,
                long_keys_in_great_number,
            },
            feed::{
                changes_come_in_order_and_name_what_is_present,
                changes_are_resumed_after_a_revision,
                what_changes_nothing_is_not_told,
                a_reader_from_the_future_is_told_to_begin_anew,
                a_feed_can_begin_at_whatever_revision_is_seen,
                a_slow_reader_misses_nothing_without_being_told,
                a_reader_that_begins_too_far_back_is_told,
            },
            model::{the_store_does_what_a_map_does},
        }
    };
}

contract!(memory, []);
contract!(sled, []);
contract!(faulty, []);
contract!(etcd, [#[ignore = "needs etcd: tests/run starts one"]]);

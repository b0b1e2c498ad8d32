"""How often a reconciler asks which servers are to be polled."""

from datetime import timedelta

from perijove.reconcile.polling import Pace


def asked(pace, seconds, step=1):
    """When, of this long a time looked at in steps."""
    return [now for now in range(0, seconds, step) if pace.is_time(now)]


def test_until_plug_ins_have_said_how_often_nobody_is_polled_before_they_are_due():
    """A hub that has just started has spread its first polls over some seconds."""
    pace = Pace()
    assert asked(pace, 10) == [0, 3, 6, 9]
    assert pace.ahead == timedelta(0)


def test_polls_every_half_minute_are_looked_for_every_three_seconds_and_taken_five_ahead():
    pace = Pace()
    pace.polled(30.0)
    assert asked(pace, 10) == [0, 3, 6, 9]
    assert pace.ahead == timedelta(seconds=5)


def test_rarer_polls_are_not_later_for_it():
    pace = Pace()
    pace.polled(3600.0)
    assert asked(pace, 10) == [0, 3, 6, 9]
    assert pace.ahead == timedelta(seconds=5)


def test_polls_that_are_wished_for_often_are_in_time():
    pace = Pace()
    pace.polled(30.0)
    pace.polled(2.0)
    assert asked(pace, 3) == [0, 1, 2]
    assert pace.ahead < timedelta(seconds=0.5)


def test_a_batch_without_survivors_says_nothing_of_the_pace():
    pace = Pace()
    pace.polled(30.0)
    pace.polled(None)
    assert asked(pace, 4) == [0, 3]


def test_a_server_that_is_known_to_have_ended_is_looked_for_at_once():
    pace = Pace()
    pace.polled(30.0)
    assert pace.is_time(0)
    assert not pace.is_time(1)
    pace.hurry()
    assert pace.is_time(1)

"""Times and speeds as people read them, in the reader's language."""

from datetime import datetime, timedelta

from tetrad.locales import Message, _

_WEEKDAYS = (_("Monday"), _("Tuesday"), _("Wednesday"), _("Thursday"), _("Friday"), _("Saturday"), _("Sunday"))


def format_clock(time: float) -> str:
    """`12:06`, of this computer's time zone."""
    return datetime.fromtimestamp(time).strftime("%H:%M")


def format_day(time: float, now: float) -> str:
    """`12:06` for today, then `yesterday 23:40`, a weekday for a week, and else the date."""
    moment, today = datetime.fromtimestamp(time), datetime.fromtimestamp(now).date()
    if moment.date() == today:
        return format_clock(time)
    if moment.date() == today - timedelta(days=1):
        return str(Message(_("yesterday {time}"), time=format_clock(time)))
    if today - timedelta(days=7) < moment.date() < today:
        return str(Message(_WEEKDAYS[moment.weekday()]))
    return moment.date().isoformat()


def format_speed(seconds_per_step: float) -> str:
    """`2.9 steps/s`, or `3.1 s/step` where a step takes longer than a second."""
    if seconds_per_step < 1:
        return str(Message(_("{speed:.1f} steps/s"), speed=1 / max(1e-9, seconds_per_step)))
    return str(Message(_("{seconds:.1f} s/step"), seconds=seconds_per_step))

import signal

import pytest

from zoo.common.signals import StopRequest


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_is_noted_and_handlers_come_back(number, exit_code):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert stop.signal is None
        signal.raise_signal(number)
        assert stop.signal == number
        assert StopRequest.EXIT_CODES[number] == exit_code
    assert signal.getsignal(number) == before


def test_a_second_ctrl_c_stops_at_once():
    with StopRequest():
        ctrl_c = signal.getsignal(signal.SIGINT)
        assert callable(ctrl_c)
        ctrl_c(signal.SIGINT, None)  # a real signal may land in a callback that swallows exceptions
        with pytest.raises(KeyboardInterrupt):
            ctrl_c(signal.SIGINT, None)

"""What is read from a service's metrics."""

from pef_lab.watch import Counters, read_counters


def test_counters_are_read_from_the_metrics() -> None:
    exposition = """
# HELP pef_calls_total Calls answered
# TYPE pef_calls_total counter
pef_calls_total{call="UV_ESM",code="U_SUCCESS"} 1.0
pef_calls_total{call="UV_PAGE_IN",code="U_SUCCESS"} 7.0
pef_calls_total{call="H_SVM_PAGE_IN",code="H_PARAMETER"} 3.0
pef_calls_created{call="UV_ESM",code="U_SUCCESS"} 1.7e+09
pef_pages_total{call="UV_PAGE_IN"} 1.6384e+06
pef_bytes_moved_total{way="to normal memory"} 65536.0
pef_bytes_moved_total{way="from normal memory"} 131072.0
pef_call_seconds_count{call="UV_ESM"} 1.0
python_info{version="3.11"} 1.0
"""
    assert read_counters(exposition) == Counters(8, 3, 1638400, 196608)
    assert Counters(8, 3, 9, 9).since(Counters(1, 1, 4, 9)) == Counters(7, 2, 5, 0)

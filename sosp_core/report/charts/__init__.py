"""Plots as inline SVG: no script, no file beside them; colours and fonts come from the page's style.

Every function takes facts and gives one ``<svg>`` that is safe to put into a page: names are
escaped, and a ``<title>`` tells a screen reader what the plot shows.
"""

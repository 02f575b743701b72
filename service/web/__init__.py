"""The pages people use in a browser: rendered here, on the same parts as the REST API.

``routes`` are thin, ``views`` say what a template may show, ``templates`` and ``static`` hold the rest.
Nothing is fetched from elsewhere, and no script or style is inline.
"""

"""Django's ORM over psycopg 3, with parameters bound on the server and statements prepared."""

import django
from django.conf import settings

from report import *

DRIVER = "Django"

settings.configure(
    USE_TZ=True,
    INSTALLED_APPS=["django.contrib.postgres"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": HOST,
            "PORT": PORT,
            "USER": USER,
            "PASSWORD": PASSWORD,
            "NAME": DATABASE,
            "OPTIONS": {
                "sslmode": "verify-full",
                "sslrootcert": ROOT,
                "server_side_binding": True,
                "prepare_threshold": 0,
            },
        }
    },
)
django.setup()

from django.contrib.postgres.fields import ArrayField
from django.db import DatabaseError, connection, models, transaction
from django.db.models import F, Value


class Done(models.Model):
    driver = models.TextField()
    worker = models.IntegerField()
    n = models.IntegerField()

    class Meta:
        app_label = "matrix"
        db_table = "done"


class Once(models.Model):
    id = models.IntegerField(primary_key=True)

    class Meta:
        app_label = "matrix"
        db_table = "once"


class Many(models.Model):
    id = models.IntegerField(primary_key=True)

    class Meta:
        app_label = "matrix"
        db_table = "many"


class Missing(models.Model):
    class Meta:
        app_label = "matrix"
        db_table = "missing"


class Kept(models.Model):
    driver = models.TextField(primary_key=True)
    ints = ArrayField(models.IntegerField(null=True))
    texts = ArrayField(models.TextField(null=True))
    doc = models.JSONField()
    raw = models.BinaryField()
    amount = models.DecimalField(max_digits=20, decimal_places=9)
    at = models.DateTimeField()

    class Meta:
        app_label = "matrix"
        db_table = "kept"


def login():
    with connection.cursor() as cursor:
        cursor.execute("select current_user::text")
        return cursor.fetchone()[0]


def worker(number, barrier):
    # Each thread has a connection of its own.
    with connection.cursor() as cursor:
        cursor.execute(f"set lock_timeout = '{lock_timeout(number)}'")
    barrier.wait()
    right = 0
    for n in range(TRANSACTIONS):
        with transaction.atomic():
            Done.objects.create(driver=DRIVER, worker=number, n=n)
            mine = Done.objects.filter(driver=DRIVER, worker=number, n=n)
            right += mine.annotate(more=F("n") + 1).get().more == n + 1
    with connection.cursor() as cursor:
        cursor.execute("show lock_timeout")
        kept = cursor.fetchone()[0]
    connection.close()
    return right, kept == lock_timeout(number)


def errors():
    states = []

    def refused(query):
        try:
            query()
        except DatabaseError as error:
            states.append(error.__cause__.sqlstate)

    refused(lambda: Once.objects.bulk_create([Once(id=1)]))
    refused(lambda: Once.objects.annotate(x=Value(1) / (F("id") - 1)).get())
    try:
        with transaction.atomic():
            refused(lambda: list(Missing.objects.all()))
            refused(lambda: list(Once.objects.all()))
            raise InterruptedError
    except InterruptedError:
        pass
    return states + [Once.objects.get().id]


def parts():
    # Outside of a transaction this is a cursor WITH HOLD, which pins.
    return sum(1 for _ in Many.objects.order_by("id").iterator(chunk_size=100))


def types():
    Kept.objects.create(
        driver=DRIVER, ints=INTS, texts=TEXTS, doc=DOC, raw=RAW, amount=AMOUNT, at=AT
    )
    row = Kept.objects.get(driver=DRIVER)
    return values(row.ints, row.texts, row.doc, row.raw, row.amount, row.at)


NOT_IN_THE_ORM = "the ORM has none"

run(DRIVER, django.get_version(), {
    "login": login,
    "prepared": lambda: in_threads(worker),
    "copy": NOT_IN_THE_ORM,
    "errors": errors,
    "cancel": NOT_IN_THE_ORM,
    "notices": NOT_IN_THE_ORM,
    "pipeline": NOT_IN_THE_ORM,
    "parts": parts,
    "listen": NOT_IN_THE_ORM,
    "types": types,
})
